"""API keys: passwords for programs, with an owner, limits and an end, stored hashed in the registry's own store."""
