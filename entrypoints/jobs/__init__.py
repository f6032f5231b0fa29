"""Periodic work beside the HTTP server."""
