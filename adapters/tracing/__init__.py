"""Adapters of the port for traces."""
