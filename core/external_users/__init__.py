"""Users of an identity provider: their records in the registry's own store, and their sign-ins."""
