"""A registry for tests that counts requests and fails on demand, in a thread of its own.

    with UpstreamServer() as upstream:
        upstream.content.add("library/alpine", make_image(1), "latest")
        …
        assert upstream.count("manifest GET") == 1

It listens on three ports of 127.0.0.1, so three origins: the registry, a storage service to which blobs may be
redirected, and a token server. It serves asyncio tests in the same process and real processes alike. `close` and `open`
simulate an outage.
"""

from tests.support.upstream_server.content import UpstreamContent
from tests.support.upstream_server.faults import UpstreamFaults
from tests.support.upstream_server.server import Seen, UpstreamServer
from tests.support.upstream_server.sign_in import SignIn

__all__ = ["Seen", "SignIn", "UpstreamContent", "UpstreamFaults", "UpstreamServer"]
