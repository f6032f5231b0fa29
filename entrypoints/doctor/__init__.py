"""`registry doctor`: checks for common problems, one module per group; each problem found comes with a remedy.

A group is an async generator function that yields diagnoses. A group removes the objects it creates and never reveals a
secret.
"""
