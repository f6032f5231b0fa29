"""Upstreams over HTTP for the tests of the adapter."""

from typing import Any

from adapters.upstream.http import HttpUpstream
from adapters.upstream.options import UpstreamOptions
from core.model import media_types
from core.model.names import Tag
from core.model.secret import Secret
from tests.support.content import image_manifest
from tests.support.upstream_server import UpstreamServer

NAME = "library/alpine"
TAG = Tag("latest")
MANIFEST = image_manifest(b"{}", [b"layer"])
PASSWORD = "hunter2"


class Clock:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def fill(server: UpstreamServer) -> str:
    """Add an image; return the digest of its manifest."""
    server.content.add_blob(NAME, b"layer")
    return server.content.add_manifest(NAME, MANIFEST, media_types.OCI_MANIFEST, TAG)


def connect(*urls: str, clock: Clock | None = None, sleep=None, **options) -> HttpUpstream:
    """Return an upstream to open."""
    if isinstance(options.get("password"), str):
        options["password"] = Secret(options["password"])
    arguments: dict[str, Any] = {name: value for name, value in (("now", clock), ("sleep", sleep)) if value is not None}
    return HttpUpstream("test", UpstreamOptions(urls=urls, **options), **arguments)


def robot(server: UpstreamServer, **options) -> HttpUpstream:
    """Return an upstream with the credentials of `robot`."""
    return connect(server.url, **{"username": "robot", "password": PASSWORD, **options})
