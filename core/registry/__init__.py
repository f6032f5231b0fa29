"""Operations of the registry: blobs, uploads, manifests, tags, referrers, the catalog."""
