"""Authenticators: ways to establish who sends a request."""
