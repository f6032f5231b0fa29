"""Sockets, TLS, and the bodies of requests and responses. Private parts of aiohttp are used in `fastpath` only."""
