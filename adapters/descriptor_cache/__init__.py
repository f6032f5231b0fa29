"""Caches of blob descriptors."""
