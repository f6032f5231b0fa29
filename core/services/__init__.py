"""What a registry does, one service per resource of the specification; `core.registry` joins them."""
