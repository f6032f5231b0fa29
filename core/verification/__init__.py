"""Verification of a store: checks that all acknowledged content is intact, and repairs it where possible.

A verification has three phases: the data of every blob; every repository with its links, manifests and catalog entry;
and data that no repository links. Each phase has a cursor that survives a kill. A verification runs beside servers that
push, delete and collect. Anything that looks damaged is checked again after a pause, in the order in which writers
write, before it is reported (docs/adr/0009).
"""
