"""Finding out whether a store still holds what was answered 201, and repairing what can be repaired.

A verification has three phases, each with a cursor that survives a kill: the data of every blob, every repository
with its links, manifests and place in the catalog, and data that nobody links. It works beside servers that push,
delete and collect: what looks damaged is looked at again, after a while and in the order in which writers write,
before anybody is told (docs/adr/0009).
"""
