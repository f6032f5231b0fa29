"""Observability of a running registry: health, metrics, traces, profiles."""
