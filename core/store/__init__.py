"""Records of the registry in storage: keys, links, tags, the clock, damage."""
