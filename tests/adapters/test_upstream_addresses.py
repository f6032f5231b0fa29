"""Several addresses of one upstream: their order, and the error when all fail."""

import asyncio
import email.utils
import time

import pytest

from core.errors import (
    UpstreamAbsentError,
    UpstreamBusyError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from core.model.digest import Digest
from tests.adapters.upstreams import NAME, TAG, Clock, connect, fill
from tests.support.ports import free_port
from tests.support.upstream_server import UpstreamServer


@pytest.fixture
def first():
    with UpstreamServer() as server:
        yield server


@pytest.fixture
def second():
    with UpstreamServer() as server:
        fill(server)
        yield server


async def test_second_address_is_not_asked_while_the_first_answers(first, second):
    fill(first)
    async with connect(first.url, second.url) as upstream:
        await upstream.manifest(NAME, TAG)
    assert (first.count("manifest"), second.count("manifest")) == (1, 0)


@pytest.mark.parametrize("status", [0, 401, 403, 404, 429, 500, 502, 503])
async def test_next_address_is_asked_after_a_failure(first, second, status):
    first.faults.refuse(status)
    async with connect(first.url, second.url) as upstream:
        assert await upstream.resolve(NAME, TAG)
        await upstream.manifest(NAME, TAG)
        async with upstream.open_blob(NAME, Digest.of(b"layer")) as reader:
            assert b"".join([piece async for piece in reader]) == b"layer"
    assert second.count("manifest", "blob") == 3


async def test_next_address_is_asked_if_nothing_listens_or_no_name_resolves(second):
    urls = (f"http://127.0.0.1:{free_port()}", "http://registry.invalid", second.url)
    async with connect(*urls) as upstream:
        await upstream.manifest(NAME, TAG)


async def test_next_address_is_asked_for_a_manifest_that_does_not_match(first, second):
    digest = fill(first)
    first.content.replace_manifest(NAME, digest, b'{"schemaVersion": 2}')
    async with connect(first.url, second.url) as upstream:
        assert (await upstream.manifest(NAME, Digest(digest))).digest == digest
    assert (first.count("manifest"), second.count("manifest")) == (1, 1)


@pytest.mark.parametrize(
    ("statuses", "error"),
    [
        ((404, 404), UpstreamAbsentError),
        ((401, 404), UpstreamAbsentError),
        ((404, 500), UpstreamUnavailableError),
        ((500, 404), UpstreamUnavailableError),
        ((429, 404), UpstreamBusyError),
        ((429, 500), UpstreamBusyError),
        ((500, 503), UpstreamUnavailableError),
    ],
)
async def test_nothing_is_absent_unless_every_address_said_so(first, second, statuses, error):
    for server, status in zip((first, second), statuses, strict=True):
        server.faults.refuse(status)
    async with connect(first.url, second.url) as upstream:
        with pytest.raises(error) as caught:
            await upstream.resolve(NAME, TAG)
    assert type(caught.value) is error
    for server, status in zip((first, second), statuses, strict=True):
        assert f"{server.host} answered {status}" in str(caught.value)
    assert str(caught.value).startswith("test: ")


async def test_time_out_of_the_last_address_is_reported_as_such(first):
    first.faults.refuse(500)
    async with SilentServer() as silent, connect(first.url, silent.url, idle_seconds=0.2) as upstream:
        with pytest.raises(UpstreamTimeoutError):
            await upstream.resolve(NAME, TAG)


async def test_busy_address_is_left_alone_until_it_may_be_asked(first):
    fill(first)
    clock = Clock()
    first.faults.refuse(429, headers={"Retry-After": "60"})
    async with connect(first.url, clock=clock) as upstream:
        with pytest.raises(UpstreamBusyError):
            await upstream.manifest(NAME, TAG)
        first.faults.recover()
        clock.seconds += 20.5
        with pytest.raises(UpstreamBusyError) as caught:
            await upstream.resolve(NAME, TAG)
        assert caught.value.retry_after == 40
        assert first.count("manifest") == 1
        clock.seconds += 40
        await upstream.manifest(NAME, TAG)


async def test_other_address_is_asked_while_one_is_busy(first, second):
    first.faults.refuse(429, times=1)
    async with connect(first.url, second.url) as upstream:
        for _ in range(3):
            await upstream.manifest(NAME, TAG)
    assert (first.count("manifest"), second.count("manifest")) == (1, 3)


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [("7", 7, 7), ("0", 1, 1), ("86400", 3600, 3600), ("", 30, 30), ("soon", 30, 30), ("-5", 30, 30)],
)
async def test_wait_is_bounded(first, header, least, most):
    first.faults.refuse(429, headers={"Retry-After": header})
    async with connect(first.url) as upstream:
        with pytest.raises(UpstreamBusyError) as caught:
            await upstream.check()
    assert least <= caught.value.retry_after <= most


async def test_wait_may_be_a_date(first):
    first.faults.refuse(429, headers={"Retry-After": email.utils.formatdate(time.time() + 600, usegmt=True)})
    async with connect(first.url) as upstream:
        with pytest.raises(UpstreamBusyError) as caught:
            await upstream.check()
    assert 500 < caught.value.retry_after <= 601


async def test_shorter_wait_of_two_addresses_counts(first, second):
    first.faults.refuse(429, headers={"Retry-After": "60"})
    second.faults.refuse(429, headers={"Retry-After": "20"})
    async with connect(first.url, second.url) as upstream:
        with pytest.raises(UpstreamBusyError) as caught:
            await upstream.resolve(NAME, TAG)
    assert caught.value.retry_after == 20


async def test_path_of_an_address_precedes_the_api(first):
    fill(first)
    first.content.repositories["cache/v2/x"] = first.content.repositories[NAME]
    async with connect(f"{first.url}/hub/") as upstream:
        with pytest.raises(UpstreamAbsentError):
            await upstream.resolve(NAME, TAG)
    assert first.seen[0].path == f"/hub/v2/{NAME}/manifests/{TAG}"


async def test_text_that_is_no_repository_is_never_sent(first):
    async with connect(first.url) as upstream:
        for name in ("../secret", "a//b", "A", "a?b", ""):
            with pytest.raises(UpstreamAbsentError):
                await upstream.resolve(name, TAG)
    assert not first.seen


class SilentServer:
    """Accepts connections and never answers."""

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._writers = []
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_error):
        self._server.close()
        for writer in self._writers:
            writer.close()

    @property
    def connections(self):
        return len(self._writers)

    async def _accept(self, _reader, writer):
        self._writers.append(writer)
