"""Threads receive large bodies straight from the socket: the connection stays open, and no byte is lost."""

import asyncio
import re
import socket
import struct
import threading
from functools import partial

import pytest

from config.settings import Settings
from core.content_source import ContentSource
from core.errors import StorageUnavailableError
from core.model.digest import Digest
from core.model.names import RepositoryName
from entrypoints.http.connection import receiving
from tests.http.conftest import open_app
from tests.support.guarded_server import over_tls, run_guarded, with_limits
from tests.support.streams import payload

pytestmark = pytest.mark.fastpath_only

NAME = RepositoryName("a")
CONTENT = payload(5_000_000)
DIGEST = Digest.of(CONTENT)


def put(content=CONTENT, digest=DIGEST, length=None):
    head = (
        f"POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: a\r\n"
        f"Content-Length: {len(content) if length is None else length}\r\n\r\n"
    )
    return head.encode() + content


async def answer(reader):
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
    length = re.search(rb"Content-Length: (\d+)", head)
    body = await reader.readexactly(int(length[1])) if length else b""
    return int(head.split(b" ", 2)[1]), head + body


@pytest.fixture(params=["plain", "TLS"])
def wire(request, tmp_path_factory):
    """Return the options of a server."""
    return over_tls(tmp_path_factory.mktemp("certificates")) if request.param == "TLS" else {}


@pytest.fixture
def guarded(guarded, wire):
    return partial(guarded, **wire)


@pytest.fixture
def turns(monkeypatch):
    """Count what threads are given to do."""
    threads = []
    turn = receiving.SocketReceiver.turn

    def count(receiver, room):
        threads.append(threading.get_ident())
        yield from turn(receiver, room)

    monkeypatch.setattr(receiving.SocketReceiver, "turn", count)
    return threads


@pytest.fixture
def idle_turns(monkeypatch):
    """Count the turns that ended because no data arrived."""
    ended = []
    turn = receiving.SocketReceiver.turn

    def count(receiver, room):
        yield from turn(receiver, room)
        if receiver.is_idle:
            ended.append(threading.get_ident())

    monkeypatch.setattr(receiving.SocketReceiver, "turn", count)
    return ended


async def test_threads_receive_large_bodies_and_the_connection_stays_open(guarded, services, turns):
    server = await guarded()
    reader, writer = await server.connect()
    for _ in range(3):
        writer.write(put())
        assert (await answer(reader))[0] == 201
    assert len(turns) >= 3
    assert threading.get_ident() not in turns
    assert await services.read_blob(NAME, DIGEST) == CONTENT
    writer.close()


async def test_small_bodies_use_no_thread(guarded, turns):
    server = await guarded()
    reader, writer = await server.connect()
    small = CONTENT[:100_000]
    writer.write(put(small, Digest.of(small)))
    assert (await answer(reader))[0] == 201
    assert turns == []
    writer.close()


async def test_next_request_is_not_part_of_a_body(guarded, services):
    """Nothing of the next request is taken for the body, and nothing of the body for a request."""
    server = await guarded()
    reader, writer = await server.connect()
    second = payload(3_000_000, seed=2)
    writer.write(put() + put(second, Digest.of(second)) + b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n")
    assert [(await answer(reader))[0] for _ in range(3)] == [201, 201, 200]
    assert await services.read_blob(NAME, Digest.of(second)) == second
    writer.close()


async def test_all_bytes_count_as_received(services, turns, wire):
    received = []
    app = open_app(services, Settings())

    async def note(request, _response):
        received.append(request.content.total_bytes)

    app.on_response_prepare.append(note)
    async with run_guarded(app, Settings(), **wire) as server:
        reader, writer = await server.connect()
        writer.write(put())
        assert (await answer(reader))[0] == 201
        writer.close()
    assert turns
    assert received == [len(CONTENT)]


async def test_slow_client_is_waited_for_without_a_thread(guarded, services, idle_turns):
    server = await guarded()
    reader, writer = await server.connect()
    request = put()
    writer.write(request[:1_000_000])
    for start in range(1_000_000, len(request), 1_000_000):
        # The client pauses until no thread waits for it any more.
        seen = len(idle_turns)
        async with asyncio.timeout(60):
            while len(idle_turns) == seen:  # noqa: ASYNC110 - threads send no signal
                await asyncio.sleep(0.01)
        writer.write(request[start : start + 1_000_000])
    assert (await answer(reader))[0] == 201
    assert len(idle_turns) >= 5
    assert await services.read_blob(NAME, DIGEST) == CONTENT
    writer.close()


async def test_client_that_has_sent_only_the_head_occupies_no_thread(services, turns):
    async with run_guarded(open_app(services, Settings()), Settings()) as server:
        reader, writer = await server.connect()
        head, content = put()[: -len(CONTENT)], CONTENT
        writer.write(head)
        # The answer to another request comes after the server has handled the head.
        await server.exchange(b"GET /v2/ HTTP/1.0\r\nHost: a\r\n\r\n")
        assert turns == []
        writer.write(content)
        assert (await answer(reader))[0] == 201
        assert turns
        writer.close()


async def begin(server):
    reply = await server.exchange(b"POST /v2/a/blobs/uploads/ HTTP/1.0\r\nHost: a\r\n\r\n")
    found = re.search(rb"Location: https?://a(\S+)", reply)
    assert found
    return found[1]


async def offset_of(server, target):
    reply = await server.exchange(b"GET " + target.partition(b"?")[0] + b" HTTP/1.0\r\nHost: a\r\n\r\n")
    found = re.search(rb"Range: 0-(\d+)", reply)
    assert found
    return int(found[1]) + 1


def patch(target, length):
    return b"PATCH " + target + b" HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length


@pytest.mark.parametrize("leave", ["close", "reset"])
async def test_cut_connection_keeps_what_arrived(guarded, turns, leave):
    server = await guarded()
    target = await begin(server)
    _, writer = await server.connect()
    writer.write(patch(target, len(CONTENT)) + CONTENT[:4_000_000])
    await writer.drain()
    async with asyncio.timeout(60):
        while not turns:  # noqa: ASYNC110 - threads send no signal
            await asyncio.sleep(0.01)
    # All of it is there before the end is.
    await asyncio.sleep(0.3)
    if leave == "reset":
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()
    async with asyncio.timeout(60):
        while await offset_of(server, target) != 4_000_000:  # noqa: ASYNC110 - nor does the store
            await asyncio.sleep(0.05)


async def test_stalled_body_is_cut_off_and_its_bytes_kept(guarded, turns):
    server = await guarded(with_limits(body_seconds=0.3))
    target = await begin(server)
    reader, writer = await server.connect()
    writer.write(patch(target, len(CONTENT)) + CONTENT[:4_000_000])
    status, text = await answer(reader)
    assert (status, b"Connection: close" in text) == (408, True)
    assert turns
    assert await offset_of(server, target) == 4_000_000
    writer.close()


async def test_trickling_body_is_cut_off(guarded):
    server = await guarded(with_limits(body_seconds=0.4, body_rate=1_000_000))
    target = await begin(server)
    reader, writer = await server.connect()
    writer.write(patch(target, len(CONTENT)) + CONTENT[:2_000_000])

    async def drip():
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.003)

    dripping = asyncio.create_task(drip())
    assert (await answer(reader))[0] == 408
    dripping.cancel()
    writer.close()


async def test_threads_read_no_more_than_the_store_has_room_for(guarded, services, monkeypatch):
    async with services.storage.open_writer("/x") as writer:
        kind = type(writer)
    before, sizes = [0], []

    async def make_room(writer, _wanted):
        sizes.append(writer.size - before[0])
        before[0] = writer.size
        return 100_000

    monkeypatch.setattr(kind, "make_room", make_room)
    server = await guarded()
    reader, writer = await server.connect()
    writer.write(put())
    assert (await answer(reader))[0] == 201
    assert await services.read_blob(NAME, DIGEST) == CONTENT
    # The bytes that had arrived before the thread began may exceed the room of the first turn.
    assert len(sizes) > 10
    assert sizes[0] == 0
    assert set(sizes[2:]) <= set(range(1, 100_001))
    writer.close()


async def test_failing_store_is_an_error_response_and_ends_reading(guarded, services, monkeypatch):
    server = await guarded()
    async with services.storage.open_writer("/x") as writer:
        kind = type(writer)

    def fail(_writer, _chunk):
        raise StorageUnavailableError("full")

    monkeypatch.setattr(kind, "append_now", fail)
    reader, writer = await server.connect()
    writer.write(put()[:3_000_000])
    status, text = await answer(reader)
    assert status == 503
    # What looks like a request is still the body.
    writer.write(b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n")
    if writer.can_write_eof():
        writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 60) == b""
    assert b"storage" in text
    writer.close()


async def test_wrong_digest_is_an_error_response(guarded, services):
    server = await guarded()
    reader, writer = await server.connect()
    writer.write(put(digest=Digest.of(b"other")))
    status, text = await answer(reader)
    assert (status, b"DIGEST_INVALID" in text) == (400, True)
    writer.write(put())
    assert (await answer(reader))[0] == 201
    assert await services.read_blob(NAME, DIGEST) == CONTENT
    writer.close()


async def test_cancelled_upload_ends_after_its_thread(services):
    taken, may_go_on = threading.Event(), threading.Event()
    ours, theirs = socket.socketpair()
    ours.settimeout(0)
    receiver = receiving.SocketReceiver(ours.fileno(), 1_000)

    class Source(ContentSource):
        async def __aiter__(self):
            yield b"x"

        async def blocking_reads(self, make_room):
            yield self._slow(await make_room(1_000))

        def _slow(self, room):
            for piece in receiver.turn(room):
                taken.set()
                assert may_go_on.wait(60)
                yield piece

    with ours, theirs:
        theirs.sendall(b"x" * 100)
        upload = asyncio.create_task(services.uploads.append(await services.uploads.start(NAME), Source()))
        await asyncio.to_thread(taken.wait, 60)
        upload.cancel()
        await asyncio.sleep(0.05)
        upload.cancel()
        await asyncio.sleep(0.05)
        assert not upload.done()
        may_go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(upload, 60)
        assert receiver.left == 900
