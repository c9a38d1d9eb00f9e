"""The contenders, each a program that reads requests on standard input and writes what they cost.

Some run in an environment of their own, so a module imports only its contender and the standard library.
"""
