"""The benchmark house: what a bar costs through ckvd_sql and through what a user would pick instead.

    python -m benchmarks [--quick] [--only N]

Every contender is a process of its own that reads the same rows, all of them made by the sandbox's market.
"""
