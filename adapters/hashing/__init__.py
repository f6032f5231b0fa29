"""Hashers for content on its way in."""
