"""Operations of the registry, one service per resource of the specification; `core.registry` combines them."""
