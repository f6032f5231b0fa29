"""Summaries of repositories and tags, derived from the store, for lists, search and pages.

A summary is never the truth: it is versioned and rebuilt on demand, and without it every answer is the same, only
slower (ADR 20).
"""
