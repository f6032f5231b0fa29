"""Hashers for uploaded content."""
