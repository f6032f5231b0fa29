"""Transfer of images: from one storage to another, and to and from image layout files.

`copy` runs a copy between storages, whose parts share a `context`: `comparison` finds the differences in a repository,
`blobs` copies the data (with `staging` for partial data), `repository` writes the links in an order that keeps the
target consistent, and `removal` follows deletions. `exporting` and `importing` write and read OCI image layouts.
`image_copy` copies images from one registry to another, with `reading` for unreliable networks, `store_target` for this
registry as the target, and `mirror_rules` for the choice of repositories and tags.
"""
