"""Adapters of the ports: one technology per module; adapters do not import each other."""
