"""`registry doctor`: tests what goes wrong in practice, one module per group of checks, each finding with its remedy.

A group is a coroutine function that yields diagnoses. It leaves nothing behind, and tells no secret.
"""
