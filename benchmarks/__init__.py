"""Benchmarks: what a bar costs through ckvd_sql and through the alternatives, over the same rows of the sandbox.

`python -m benchmarks` measures; RESULTS.md is written from results.json by `report`, the plots are drawn by `plots`.
"""
