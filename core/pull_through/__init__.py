"""The pull-through cache: repositories whose content comes from upstream registries on demand."""
