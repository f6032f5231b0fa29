"""Moving images: from one storage to another, and out to a file and back.

`copy` joins the parts of a copy between storages: `comparison` finds what differs in a repository, `blobs` brings the
data (and `staging` what of it is under way), `repository` writes the links in the one order that keeps the target
sound, `removal` follows deletions. `exporting` and `importing` write and read OCI image layouts.
"""
