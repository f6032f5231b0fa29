"""Garbage collection while everybody goes on pushing: what is found, told, waited for, looked at again, and removed.

`guard` is the side of those who serve, `collector` the side of the one that collects; they meet in `rounds` and
`spares`, which are objects in the store. docs/adr/0007 has the argument why nothing is lost.
"""
