"""How the world reaches the registry: the `registry` command and the HTTP server."""
