"""Contract tests of upstreams in memory and over HTTP."""

from collections.abc import AsyncIterator

import pytest

from adapters.upstream.http import HttpUpstream
from adapters.upstream.memory import InMemoryUpstream
from adapters.upstream.options import UpstreamOptions
from core.errors import UpstreamBusyError, UpstreamUnavailableError
from core.model.secret import Secret
from tests.contracts.upstream_contract import UpstreamContract
from tests.support.upstream_server import UpstreamServer


class TestInMemoryUpstream(UpstreamContract):
    @pytest.fixture
    def content(self):
        self.memory = InMemoryUpstream("the upstream")
        return self.memory

    @pytest.fixture
    async def upstream(self, content):
        async with content:
            yield content

    def let_fail(self, error):
        message = f"{self.memory.name} answered 503"
        is_busy = error is UpstreamBusyError
        self.memory.failure = error(message, retry_after=60) if is_busy else error(message)

    def cut_next_blob(self, after):
        self.memory.breaks_after = after
        self.memory.failure_of_blob = UpstreamUnavailableError("the connection broke")


class TestHttpUpstream(UpstreamContract):
    @pytest.fixture
    def server(self):
        with UpstreamServer() as server:
            self.remote = server
            yield server

    @pytest.fixture
    def content(self, server):
        return server.content

    @pytest.fixture
    async def upstream(self, server) -> AsyncIterator[HttpUpstream]:
        async with HttpUpstream("the upstream", UpstreamOptions(urls=(server.url,))) as upstream:
            yield upstream

    def let_fail(self, error):
        is_busy = error is UpstreamBusyError
        self.remote.faults.refuse(429 if is_busy else 503, headers={"Retry-After": "60"})

    def cut_next_blob(self, after):
        self.remote.faults.cut_blobs(after)


class TestHttpUpstreamWithTokens(TestHttpUpstream):
    """Redirects blobs to another origin, asks for tokens, and answers in small pages."""

    @pytest.fixture
    def server(self):
        with UpstreamServer() as server:
            server.sign_in.require_bearer(robot="hunter2")
            server.faults.redirects = 2
            server.faults.page_size = 2
            self.remote = server
            yield server
            assert not any(seen.is_signed_in for seen in server.requests("storage"))

    @pytest.fixture
    async def upstream(self, server) -> AsyncIterator[HttpUpstream]:
        options = UpstreamOptions(urls=(server.url,), username="robot", password=Secret("hunter2"))
        async with HttpUpstream("the upstream", options) as upstream:
            yield upstream


class TestHttpUpstreamWithOldServer(TestHttpUpstream):
    """Has no referrers API, no digests, no validators and no ranges, and compresses what it should not."""

    @pytest.fixture
    def server(self):
        with UpstreamServer() as server:
            server.faults.has_referrers = False
            server.faults.omits_digest = True
            server.faults.omits_etag = True
            server.faults.ignores_ranges = True
            server.faults.gzips_json = True
            self.remote = server
            yield server

    @pytest.fixture
    def content(self, server):
        return WithFallbackTags(server)


class WithFallbackTags:
    """Content of a server whose clients keep an index of referrers under the fallback tag."""

    def __init__(self, server):
        self._content = server.content

    def add_manifest(self, name, content, media_type, *tags):
        digest = self._content.add_manifest(name, content, media_type, *tags)
        for subject in list(self._content.repositories[name].manifests):
            if self._content.repositories[name].referrers(subject):
                self._content.add_fallback_tag(name, subject)
        return digest

    def add_blob(self, name, content):
        return self._content.add_blob(name, content)

    def remove_tag(self, name, tag):
        self._content.remove_tag(name, tag)
