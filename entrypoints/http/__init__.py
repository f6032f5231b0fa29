"""The HTTP API: distribution-spec 1.1 on aiohttp."""
