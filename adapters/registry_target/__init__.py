"""Adapters of the port for registries that images are copied to."""
