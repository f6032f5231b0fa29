"""Endpoint handlers: read the request, call the registry, write the response. They contain no domain rules."""
