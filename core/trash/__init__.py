"""Deleted content that can be restored."""
