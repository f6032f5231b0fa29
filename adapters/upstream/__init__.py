"""Adapters of the port for upstream registries."""
