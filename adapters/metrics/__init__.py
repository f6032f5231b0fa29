"""Adapters of the port for metrics."""
