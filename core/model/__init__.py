"""Value objects of the OCI specifications: names, digests, descriptors, manifests, events."""
