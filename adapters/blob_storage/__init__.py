"""Adapters of `core.ports.blob_storage`, and the decorator that observes any of them."""
