"""The domain of a container registry: pure rules, no I/O, standard library only.

A *registry* serves *repositories*. A repository holds *manifests* (JSON documents, addressed by the digest of
their exact bytes), *blobs* (layers and configs, addressed by digest) and *tags* (names that point at a manifest).
An *index* is a manifest that lists manifests. A *link* records that a repository may read a blob, whose bytes lie
once in the whole store. An *upload session* takes in a blob piece by piece; a *mount* links a blob that another
repository holds. A manifest may name a *subject*; seen from there it is a *referrer*. The *catalog* is the sorted
list of repositories.

What a repository stores and where is `core.layout`; what it needs from the world is `core.ports`; what it does is
`core.services`; `core.registry` joins them.
"""
