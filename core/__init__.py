"""The domain of a container registry: pure rules, no I/O, standard library only.

A *registry* serves *repositories*. A repository holds *manifests* (JSON documents, addressed by the digest of their
exact bytes), *blobs* (layers and configs, addressed by digest) and *tags* (names that point at a manifest). An *index*
is a manifest that lists manifests. A *link* records that a repository may read a blob; the bytes of the blob are stored
once for all repositories. An *upload session* receives a blob in pieces; a *mount* links a blob that another repository
holds. A manifest may name another manifest as its *subject*, and is then a *referrer* of that subject. The *catalog* is
the sorted list of repositories.

`core.model` holds these values, `core.store` their records in storage (`core.store.layout` defines the keys),
`core.ports` the interfaces to the outside, and `core.registry` the operations, which its module `facade` combines.
"""
