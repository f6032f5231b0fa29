"""Garbage collection while the registry serves pushes and pulls.

A run marks, publishes the items it is about to remove, waits, marks again, and removes those that are still garbage.
`guard` runs in each serving process, `collector` in the process that collects. The two communicate through `rounds` and
`pins`, which are objects in the store. docs/adr/0007 explains why no acknowledged content is lost.
"""
