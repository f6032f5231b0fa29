"""Adapters of `core.ports.blob_storage`, and a decorator that observes any of them."""
