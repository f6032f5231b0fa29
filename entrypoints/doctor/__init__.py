"""`registry doctor`: checks for problems common in practice, one module per group, each finding with its remedy.

A group is an async generator function that yields diagnoses. A group removes the objects it creates and never reveals a
secret.
"""
