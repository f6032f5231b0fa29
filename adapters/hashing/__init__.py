"""Hashers for uploaded content, and the threads that they run in."""
