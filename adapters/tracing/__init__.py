"""Adapters of the tracing port."""
