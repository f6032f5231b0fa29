"""Receivers of events."""
