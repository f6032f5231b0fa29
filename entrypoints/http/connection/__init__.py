"""Everything that uses sockets or private parts of aiohttp."""
