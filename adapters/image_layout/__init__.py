"""OCI image layouts: in a folder, and in a tar archive (`adapters/image_layout` is the port's technology alone)."""
