"""OCI image layouts in a folder and in a tar archive."""
