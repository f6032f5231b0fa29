"""Audit logs: a file, a stream, nowhere."""
