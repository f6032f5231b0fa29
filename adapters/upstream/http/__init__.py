"""An upstream registry over HTTP: distribution's API with Basic and Bearer authentication.

A request passes through `upstream` (the port), `addresses` (one address after the other), `signing` (credentials and
tokens of an address) and `transport` (connections, proxies, redirects). `answers` reads what comes back.
"""

from adapters.upstream.http.upstream import HttpUpstream

__all__ = ["HttpUpstream"]
