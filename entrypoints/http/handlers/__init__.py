"""What each endpoint does: read the request, call the registry, write the response. No rules of the domain."""
