"""Entry points of the registry: the `registry` command and the HTTP server."""
