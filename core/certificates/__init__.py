"""Certificates from an ACME server, ordered by one replica at a time and shared by all through the store."""
