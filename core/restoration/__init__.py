"""Restoration of deleted content from the trash."""
