"""Retention rules, pull times, and the service that applies the rules."""
