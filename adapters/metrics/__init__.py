"""Adapters of the metrics port."""
