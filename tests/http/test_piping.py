"""Large blobs pass from the store's socket to the client's through a pipe: complete, or visibly broken off."""

import asyncio
import fcntl
import os
import re
import socket
from dataclasses import replace

import pytest

from config.settings import Settings
from core.model.digest import Digest
from core.model.names import RepositoryName
from entrypoints.http.connection import piping
from tests.http.conftest import open_app
from tests.support.core_services import CoreServices, chunks
from tests.support.guarded_server import run_guarded, with_limits
from tests.support.scs_server import FakeScsServer
from tests.support.scs_server.faults import Fault
from tests.support.scs_storage import QUICK, scs_storage
from tests.support.streams import payload

pytestmark = pytest.mark.fastpath_only

NAME = RepositoryName("a")
CONTENT = payload(20_000_000)
DIGEST = Digest.of(CONTENT)
HEAD = f"GET /v2/a/blobs/{DIGEST} HTTP/1.1\r\nHost: a\r\n"
GET = f"{HEAD}\r\n".encode()


def without_redirects(settings):
    return replace(settings, storage=replace(settings.storage, redirect_disabled=True))


SETTINGS = without_redirects(Settings())


@pytest.fixture
async def store():
    async with FakeScsServer() as server:
        yield server


@pytest.fixture
async def services(store):
    async with scs_storage(store) as storage:
        services = CoreServices(storage=storage)
        await services.uploads.put(NAME, DIGEST, chunks(CONTENT))
        # A process hashes a blob the first time that it reads the whole of it.
        async with services.blobs.open(NAME, DIGEST) as reader:
            assert b"".join([piece async for piece in reader]) == CONTENT
        store.log.clear()
        yield services


@pytest.fixture
def piped(monkeypatch):
    """Record the pulls that go through a pipe."""
    pulls = []
    send = piping.send_through_pipe

    async def count(writer, pipe, fill, left, descriptor):
        pulls.append(left)
        await send(writer, pipe, fill, left, descriptor)

    monkeypatch.setattr("entrypoints.http.connection.sending.send_through_pipe", count)
    return pulls


async def answer(reader):
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
    length = re.search(rb"Content-Length: (\d+)", head)
    assert length
    return int(head.split(b" ", 2)[1]), await asyncio.wait_for(reader.readexactly(int(length[1])), 60)


async def test_blob_goes_through_a_pipe_and_both_connections_stay_open(guarded, store, piped):
    server = await guarded(SETTINGS)
    reader, writer = await server.connect()
    before = store.connections
    for _ in range(6):
        writer.write(GET + b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n")
        assert await answer(reader) == (200, CONTENT)
        assert await answer(reader) == (200, b"{}")
    assert piped == [len(CONTENT)] * 6
    # Background jobs may have opened some.
    assert store.connections < before + 3
    writer.close()


@pytest.mark.parametrize(("first", "last"), [(0, 9_999_999), (1, 2_000_000), (18_000_000, 19_999_999)])
async def test_range_goes_through_a_pipe(guarded, piped, first, last):
    server = await guarded(SETTINGS)
    reader, writer = await server.connect()
    writer.write(f"{HEAD}Range: bytes={first}-{last}\r\n\r\n".encode())
    assert await answer(reader) == (206, CONTENT[first : last + 1])
    assert piped == [last + 1 - first]
    writer.close()


async def test_large_part_goes_through_a_pipe_between_small_ones(guarded, piped):
    server = await guarded(SETTINGS)
    reader, writer = await server.connect()
    writer.write(f"{HEAD}Range: bytes=0-4,1000000-8999999,10000000-10000009\r\n\r\n".encode())
    status, body = await answer(reader)
    assert status == 206
    assert piped == [8_000_000]
    parts = [CONTENT[:5], CONTENT[1_000_000:9_000_000], CONTENT[10_000_000:10_000_010]]
    places = [body.index(part) for part in parts]
    assert places == sorted(places)
    writer.close()


def cut_blob(store, *, times):
    """Cut the next answers with the blob, each in the middle of its body; the blob's link is read before."""
    store.faults.arm("get_object", Fault.NONE, *[Fault.CUT_BODY] * times)


async def test_cut_answer_of_the_store_is_continued(guarded, store, piped):
    server = await guarded(SETTINGS)
    cut_blob(store, times=2)
    reader, writer = await server.connect()
    writer.write(GET)
    assert await answer(reader) == (200, CONTENT)
    assert piped == [len(CONTENT)]
    writer.close()


async def test_store_that_breaks_off_ends_the_connection(guarded, store, piped, caplog):
    """The client must not wait for bytes that never come, nor take the answer for whole."""
    server = await guarded(SETTINGS)
    cut_blob(store, times=QUICK.attempts)
    reader, writer = await server.connect()
    writer.write(GET)
    head = await reader.readuntil(b"\r\n\r\n")
    received = await asyncio.wait_for(reader.read(), 60)
    assert f"Content-Length: {len(CONTENT)}".encode() in head
    assert 0 < len(received) < len(CONTENT)
    assert CONTENT.startswith(received)
    assert piped
    assert "broke off" in caplog.text
    writer.close()


@pytest.mark.parametrize("leave", ["at once", "late"])
async def test_client_that_disconnects_is_noticed(services, piped, caplog, leave):
    caplog.set_level("INFO")
    requests = []
    app = open_app(services, SETTINGS)

    async def note(request, _response):
        requests.append(request)

    app.on_response_prepare.append(note)
    async with run_guarded(app, SETTINGS) as server:
        reader, writer = await server.connect()
        writer.write(GET)
        await reader.readexactly(1_000_000)
        if leave == "late":
            await asyncio.sleep(0.3)
        writer.close()
        async with asyncio.timeout(60):
            while "client disconnected" not in caplog.text:  # noqa: ASYNC110 - a log sends no signal
                await asyncio.sleep(0.01)
        assert piped
        # Those that the kernel took are counted, and not those that it did not.
        assert 1_000_000 <= requests[0].writer.output_size < len(CONTENT)
        # The store's connection had bytes left; another one serves the next pull.
        reader, writer = await server.connect()
        writer.write(GET)
        assert await answer(reader) == (200, CONTENT)
        writer.close()


async def test_client_that_receives_nothing_is_cut_off(guarded, piped, caplog):
    caplog.set_level("INFO")
    server = await guarded(without_redirects(with_limits(send_seconds=0.5)))
    _, writer = await server.connect()
    writer.write(GET)
    async with asyncio.timeout(60):
        while "client disconnected" not in caplog.text:  # noqa: ASYNC110 - a log sends no signal
            await asyncio.sleep(0.05)
    assert piped
    writer.close()


async def test_slow_client_holds_no_more_than_the_pipe(guarded, piped, monkeypatch):
    """The kernel stops taking bytes from the store when the client stops reading."""
    moved = []
    splice = os.splice

    def count(source, target, size, **options):
        moved.append(size)
        return splice(source, target, size, **options)

    server = await guarded(SETTINGS)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(0)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", server.port))
        monkeypatch.setattr(os, "splice", count)
        await loop.sock_sendall(client, GET)
        async with asyncio.timeout(60):
            while not moved:  # noqa: ASYNC110 - a call sends no signal
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        begun = len(moved)
        await asyncio.sleep(0.3)
        assert len(moved) == begun
        assert max(moved) <= 512 * 1024
        # The server serves other clients in between.
        assert b"200 OK" in await server.exchange(b"GET /v2/ HTTP/1.0\r\nHost: a\r\n\r\n")
    assert piped


@pytest.mark.parametrize("lack", ["pipes", "room", "splice"])
async def test_blob_is_copied_if_the_system_lacks_pipes(guarded, piped, monkeypatch, lack):
    def refuse(*_arguments, **_options):
        raise PermissionError(1, "Operation not permitted")

    piping.can_splice.cache_clear()
    if lack == "pipes":
        assert piping.can_splice()
        monkeypatch.setattr(os, "pipe2", refuse)
    elif lack == "room":
        monkeypatch.setattr(fcntl, "fcntl", refuse)
    else:
        monkeypatch.setattr(os, "splice", refuse)
    server = await guarded(SETTINGS)
    reader, writer = await server.connect()
    writer.write(GET)
    assert await answer(reader) == (200, CONTENT)
    assert piped == []
    piping.can_splice.cache_clear()
    writer.close()
