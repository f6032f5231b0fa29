"""Audit logs: to a file, to a stream, or disabled."""
