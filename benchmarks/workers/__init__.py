"""The contenders, each a program that takes requests on standard input and answers with what they cost.

Some run in an environment of their own, so nothing here imports more than its contender and the standard library.
"""
