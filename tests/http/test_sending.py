"""Threads copy large blobs from a file to the socket: completely, in turn, and not for disconnected clients."""

import asyncio
import os
import re
import socket
import struct
import threading
from functools import partial

import pytest
from aiohttp import web

from adapters.blob_storage.filesystem import FilesystemBlobStorage
from config.settings import Settings
from core.concurrency import await_thread
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.store import layout
from entrypoints.http.connection import sending
from entrypoints.http.connection.socket_access import writable
from entrypoints.http.connection.tls_transport import session_of
from tests.http.conftest import open_app
from tests.support.core_services import CoreServices, chunks
from tests.support.guarded_server import over_tls, run_guarded, with_limits
from tests.support.streams import payload

pytestmark = pytest.mark.fastpath_only

IS_LOCAL = sending.is_local
NAME = RepositoryName("a")
CONTENT = payload(20_000_000)
DIGEST = Digest.of(CONTENT)
HEAD = f"GET /v2/a/blobs/{DIGEST} HTTP/1.1\r\nHost: a\r\n"
GET = f"{HEAD}\r\n".encode()


@pytest.fixture
async def services(tmp_path):
    async with FilesystemBlobStorage(str(tmp_path)) as storage:
        services = CoreServices(storage=storage)
        await services.uploads.put(NAME, DIGEST, chunks(CONTENT))
        yield services


@pytest.fixture(params=["here", "elsewhere", "over TLS"], autouse=True)
def client(request, monkeypatch):
    """Where the client seems to be: bytes are copied for one here, handed over by the kernel, or encrypted."""
    monkeypatch.setattr(sending, "is_local", lambda _peer: request.param == "here")
    return request.param


@pytest.fixture
def wire(client, tmp_path_factory):
    """Return the options of a server for this client."""
    return over_tls(tmp_path_factory.mktemp("certificates")) if client == "over TLS" else {}


@pytest.fixture
def guarded(guarded, wire):
    return partial(guarded, **wire)


@pytest.fixture
def system_call(client):
    """Return the method that sends bytes to this client."""
    return "sendfile" if client == "elsewhere" else "preadv"


@pytest.fixture
def turns(monkeypatch):
    """Count what threads are given to do."""
    threads = []
    turn = sending.FileSender.turn

    def count(sender):
        threads.append(threading.get_ident())
        turn(sender)

    monkeypatch.setattr(sending.FileSender, "turn", count)
    return threads


async def answer(reader):
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
    length = re.search(rb"Content-Length: (\d+)", head)
    assert length
    return int(head.split(b" ", 2)[1]), await asyncio.wait_for(reader.readexactly(int(length[1])), 60)


async def test_threads_send_large_blobs_and_the_connection_stays_open(guarded, turns):
    server = await guarded()
    reader, writer = await server.connect()
    for _ in range(3):
        writer.write(GET)
        assert await answer(reader) == (200, CONTENT)
    assert len(turns) >= 3
    assert threading.get_ident() not in turns
    writer.close()


async def test_requests_that_follow_at_once_are_answered_in_order(guarded):
    server = await guarded()
    reader, writer = await server.connect()
    writer.write(GET + b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
    answers = [await answer(reader) for _ in range(3)]
    assert answers == [(200, CONTENT), (200, b"{}"), (200, CONTENT)]
    writer.close()


async def test_socket_is_lent_after_buffered_data_has_reached_the_kernel(wire):
    async def write_and_lend(request):
        response = web.StreamResponse(headers={"Content-Length": str(len(CONTENT) + 3)})
        await response.prepare(request)
        request.transport.write(CONTENT)
        assert request.transport.get_write_buffer_size() > 0
        async with request.protocol.lend_output() as descriptor:
            assert request.transport.get_write_buffer_size() == 0
            await writable(descriptor)
            if session := session_of(request.transport):
                session.keep(memoryview(b"end"))
                session.send(descriptor)
            else:
                assert os.write(descriptor, b"end") == 3
        return response

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", write_and_lend)
    async with run_guarded(app, Settings(), **wire) as server:
        reader, writer = await server.connect()
        writer.write(GET)
        assert await answer(reader) == (200, CONTENT + b"end")
        writer.close()


@pytest.mark.parametrize(("first", "last"), [(0, 9_999_999), (1, 1_000_000), (19_000_000, 19_999_999)])
async def test_range_is_sent(guarded, turns, first, last):
    server = await guarded()
    reader, writer = await server.connect()
    writer.write(f"{HEAD}Range: bytes={first}-{last}\r\n\r\n".encode())
    assert await answer(reader) == (206, CONTENT[first : last + 1])
    assert turns
    writer.close()


async def test_large_parts_are_sent_between_small_ones(guarded, turns):
    server = await guarded()
    reader, writer = await server.connect()
    writer.write(f"{HEAD}Range: bytes=-5,1-1000000,0-0,2000000-9999999\r\n\r\n".encode() + GET)
    status, body = await answer(reader)
    assert status == 206
    boundary = body.partition(b"\r\n")[0]
    parts = [part.partition(b"\r\n\r\n")[2] for part in body.split(b"\r\n" + boundary)]
    # The third range touches the second.
    assert parts[:3] == [CONTENT[-5:], CONTENT[:1_000_001], CONTENT[2_000_000:10_000_000]]
    assert parts[3:] == [b""]
    assert len(turns) >= 2
    assert await answer(reader) == (200, CONTENT)
    writer.close()


async def test_small_parts_use_no_thread(guarded, turns):
    server = await guarded()
    reader, writer = await server.connect()
    writer.write(f"{HEAD}Range: bytes=5-200000\r\n\r\n".encode())
    assert await answer(reader) == (206, CONTENT[5:200_001])
    assert turns == []
    writer.close()


async def test_slow_client_is_waited_for_without_a_thread(guarded, turns):
    server = await guarded()
    reader, writer = await server.connect()
    writer.write(GET)
    async with asyncio.timeout(60):
        while not turns:  # noqa: ASYNC110 - threads send no signal
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    begun = len(turns)
    # The thread sends as much as the kernel accepts; no thread is used again before there is room.
    await asyncio.sleep(0.3)
    assert len(turns) == begun
    # The server serves other clients in between.
    assert b"200 OK" in await server.exchange(b"GET /v2/ HTTP/1.0\r\nHost: a\r\n\r\n")
    assert await answer(reader) == (200, CONTENT)
    assert len(turns) > begun
    writer.close()


async def test_event_loop_runs_while_a_blob_is_sent(guarded, monkeypatch, system_call):
    may_go_on = threading.Event()
    call = getattr(os, system_call)
    loop_thread = threading.get_ident()

    def wait_for_the_disk(*arguments):
        # The event loop reads small files itself, as far as they are in memory.
        assert threading.get_ident() == loop_thread or may_go_on.wait(60)
        return call(*arguments)

    monkeypatch.setattr(os, system_call, wait_for_the_disk)
    server = await guarded()
    reader, writer = await server.connect()
    writer.write(GET)
    assert b"200 OK" in await server.exchange(b"GET /v2/ HTTP/1.0\r\nHost: a\r\n\r\n")
    may_go_on.set()
    assert await answer(reader) == (200, CONTENT)
    writer.close()


@pytest.mark.parametrize("leave", ["close", "reset"])
async def test_client_that_disconnects_is_noticed(services, turns, caplog, wire, leave):
    caplog.set_level("INFO")
    requests = []
    app = open_app(services, Settings())

    async def note(request, _response):
        requests.append(request)

    app.on_response_prepare.append(note)
    async with run_guarded(app, Settings(), **wire) as server:
        reader, writer = await server.connect()
        writer.write(GET)
        await reader.readexactly(1_000_000)
        if leave == "reset":
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()
        async with asyncio.timeout(60):
            while "client disconnected" not in caplog.text:  # noqa: ASYNC110 - a log sends no signal
                await asyncio.sleep(0.01)
        assert turns
        # Those that the kernel took are counted, and not those that it did not.
        assert 1_000_000 < requests[0].writer.output_size < len(CONTENT)


async def test_client_that_receives_nothing_is_cut_off(guarded, caplog):
    caplog.set_level("INFO")
    server = await guarded(with_limits(send_seconds=0.5))
    _, writer = await server.connect()
    writer.write(GET)
    async with asyncio.timeout(60):
        while "client disconnected" not in caplog.text:  # noqa: ASYNC110 - a log sends no signal
            await asyncio.sleep(0.05)
    writer.close()


async def test_file_that_ends_early_ends_the_connection(guarded, tmp_path, caplog, monkeypatch):
    """The client must not wait for bytes that never come, nor take the answer for whole."""
    turn = sending.FileSender.turn

    def cut(sender):
        os.truncate(f"{tmp_path}{layout.blob_data(DIGEST)}", 5_000_000)
        turn(sender)

    monkeypatch.setattr(sending.FileSender, "turn", cut)
    server = await guarded()
    reader, writer = await server.connect()
    writer.write(GET)
    await reader.readuntil(b"\r\n\r\n")
    received = await asyncio.wait_for(reader.read(), 60)
    assert len(received) < len(CONTENT)
    assert "ended" in caplog.text
    writer.close()


async def test_disk_that_fails_ends_the_connection(guarded, caplog, monkeypatch, system_call):
    call = getattr(os, system_call)
    loop_thread = threading.get_ident()

    def fail(*arguments):
        if threading.get_ident() == loop_thread:
            return call(*arguments)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, system_call, fail)
    server = await guarded()
    reader, writer = await server.connect()
    writer.write(GET)
    await reader.readuntil(b"\r\n\r\n")
    assert await asyncio.wait_for(reader.read(), 60) == b""
    assert "Input/output error" in caplog.text
    writer.close()


async def test_cancelled_pull_ends_after_its_thread(services, client):
    """The file and the descriptor are closed next: their numbers may soon be those of others."""
    copying, may_go_on = threading.Event(), threading.Event()

    class Slow(sending.FileSender):
        def turn(self):
            copying.set()
            assert may_go_on.wait(60)
            super().turn()

    ours, theirs = socket.socketpair()
    ours.settimeout(0)
    with ours, theirs:
        async with services.blobs.open(NAME, DIGEST) as reader:
            sender = Slow(reader, ours.fileno(), is_local=client == "here")

            async def pull():
                await await_thread(reader.offload(sender.turn), stop=sender.stop)

            pulling = asyncio.create_task(pull())
            await asyncio.to_thread(copying.wait, 60)
            pulling.cancel()
            await asyncio.sleep(0.05)
            assert not pulling.done()
            may_go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(pulling, 60)
            assert sender.left == len(CONTENT)


@pytest.mark.parametrize(
    ("peer", "is_local"),
    [
        (("127.0.0.1", 5), True),
        (("127.8.9.1", 5), True),
        (("::1", 5, 0, 0), True),
        (("::ffff:127.0.0.1", 5, 0, 0), True),
        ("", True),
        (None, True),
        (("10.0.0.1", 5), False),
        (("::ffff:10.127.0.1", 5, 0, 0), False),
        (("fe80::1", 5, 0, 0), False),
    ],
)
def test_clients_of_this_machine_are_recognized(peer, is_local):
    assert IS_LOCAL(peer) is is_local
