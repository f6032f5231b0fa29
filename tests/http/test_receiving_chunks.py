"""Threads receive large chunked bodies too; aiohttp's parser still decides where they end."""

import asyncio
from functools import partial

import pytest
from aiohttp import web

from core.model.digest import Digest
from core.model.names import RepositoryName
from entrypoints.http.connection import receiving
from entrypoints.http.observation import Observation
from tests.http.test_receiving import answer, begin, offset_of
from tests.support.guarded_server import over_tls, with_limits
from tests.support.streams import payload

pytestmark = pytest.mark.fastpath_only

NAME = RepositoryName("a")
CONTENT = payload(5_000_000)
DIGEST = Digest.of(CONTENT)
LAST = b"0\r\n\r\n"


@pytest.fixture(params=["plain", "TLS"])
def wire(request, tmp_path_factory):
    """Return the options of a server."""
    return over_tls(tmp_path_factory.mktemp("certificates")) if request.param == "TLS" else {}


@pytest.fixture
def guarded(guarded, wire):
    return partial(guarded, **wire)


@pytest.fixture
def received(monkeypatch):
    """Count the bytes that threads find in chunks."""
    sizes = []
    turn = receiving.ChunkReceiver.turn

    def count(receiver, room):
        for piece in turn(receiver, room):
            sizes.append(len(piece))
            yield piece

    monkeypatch.setattr(receiving.ChunkReceiver, "turn", count)
    return sizes


def chunks(content, size=32_768):
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


def put(body, digest=DIGEST):
    head = f"POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head.encode() + body


def patch(target):
    return b"PATCH " + target + b" HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("size", [1_000, 32_768, 5_000_000])
async def test_threads_receive_chunks_and_the_connection_stays_open(guarded, services, received, size):
    server = await guarded()
    reader, writer = await server.connect()
    for number in range(3):
        content = CONTENT + bytes([number])
        writer.write(put(chunks(content, size) + LAST, Digest.of(content)))
        assert (await answer(reader))[0] == 201
        assert await services.read_blob(NAME, Digest.of(content)) == content
    assert sum(received) > len(CONTENT)
    writer.close()


async def test_threads_take_over_from_a_client_that_was_faster(guarded, services, received):
    @web.middleware
    async def wait_for_full_buffers(request, handler):
        async with asyncio.timeout(60):
            while request.transport.is_reading():  # noqa: ASYNC110 - the transport sends no signal
                await asyncio.sleep(0.01)
        return await handler(request)

    server = await guarded(observation=Observation(middlewares=[wait_for_full_buffers]))
    reader, writer = await server.connect()
    writer.write(put(chunks(CONTENT) + LAST))
    assert (await answer(reader))[0] == 201
    assert await services.read_blob(NAME, DIGEST) == CONTENT
    assert sum(received) == len(CONTENT)
    writer.close()


async def test_small_chunked_bodies_use_no_thread(guarded, received):
    server = await guarded()
    reader, writer = await server.connect()
    small = CONTENT[:100_000]
    writer.write(put(chunks(small) + LAST, Digest.of(small)))
    assert (await answer(reader))[0] == 201
    assert received == []
    writer.close()


async def test_next_request_is_not_part_of_a_chunked_body(guarded, services, received):
    server = await guarded()
    reader, writer = await server.connect()
    second = payload(3_000_000, seed=2)
    both = put(chunks(CONTENT) + LAST) + put(chunks(second) + LAST, Digest.of(second))
    writer.write(both + b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n")
    assert [(await answer(reader))[0] for _ in range(3)] == [201, 201, 200]
    assert await services.read_blob(NAME, Digest.of(second)) == second
    assert received
    writer.close()


async def test_what_is_not_plain_is_parsed_as_ever(guarded, services, received):
    """Extensions in the middle, and trailers at the end; then the client sends another request."""
    server = await guarded()
    reader, writer = await server.connect()
    extended = b"5;name=value\r\nhello\r\n" + chunks(CONTENT)
    content = CONTENT + b"hello" + CONTENT
    writer.write(put(chunks(CONTENT) + extended + b"0\r\nTrailer: x\r\n\r\n", Digest.of(content)))
    assert (await answer(reader))[0] == 201
    assert await services.read_blob(NAME, Digest.of(content)) == content
    assert received
    writer.write(b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await answer(reader))[0] == 200
    writer.close()


async def test_last_chunk_may_come_late_and_in_pieces(guarded, services, received):
    server = await guarded()
    reader, writer = await server.connect()
    raw = put(chunks(CONTENT) + LAST)
    writer.write(raw[:-7])
    await writer.drain()
    for byte in raw[-7:]:
        await asyncio.sleep(0.02)
        writer.write(bytes([byte]))
    assert (await answer(reader))[0] == 201
    assert await services.read_blob(NAME, DIGEST) == CONTENT
    assert received
    writer.close()


WRONG = [b"xyz\r\n", b"-5\r\nhello\r\n", b"5\r\nhello!\r\n", b"5\nhello\r\n"]


@pytest.mark.parametrize("bad", WRONG)
async def test_wrong_framing_is_refused_and_ends_the_connection(guarded, received, bad):
    server = await guarded()
    target = await begin(server)
    reader, writer = await server.connect()
    writer.write(patch(target) + chunks(CONTENT) + bad + LAST + b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n")
    status, text = await answer(reader)
    assert (status, b"Connection: close" in text) == (400, True)
    assert received
    assert await offset_of(server, target) >= len(CONTENT)
    assert await asyncio.wait_for(reader.read(), 60) == b""
    writer.close()


@pytest.mark.parametrize("bad", WRONG)
async def test_wrong_framing_after_a_small_piece_is_refused_too(guarded, received, bad):
    server = await guarded()
    target = await begin(server)
    reader, writer = await server.connect()
    writer.write(patch(target) + chunks(CONTENT[:1000]))
    await writer.drain()
    # The head and the bad line arrive separately.
    await server.exchange(b"GET /v2/ HTTP/1.0\r\nHost: a\r\n\r\n")
    writer.write(bad + LAST)
    status, text = await answer(reader)
    assert (status, b"Connection: close" in text) == (400, True)
    assert received == []
    writer.close()


async def test_cut_connection_keeps_the_chunks_that_arrived(guarded, received):
    server = await guarded()
    target = await begin(server)
    _, writer = await server.connect()
    writer.write(patch(target) + chunks(CONTENT))
    await writer.drain()
    async with asyncio.timeout(60):
        while not received:  # noqa: ASYNC110 - threads send no signal
            await asyncio.sleep(0.01)
    writer.close()
    async with asyncio.timeout(60):
        while await offset_of(server, target) != len(CONTENT):  # noqa: ASYNC110 - nor does the store
            await asyncio.sleep(0.05)


async def test_chunked_body_above_the_limit_is_refused(guarded, services, received):
    server = await guarded(with_limits(upload_bytes=2_000_000))
    target = await begin(server)
    reader, writer = await server.connect()
    # With the last chunk, the whole body may have arrived before the response, and the connection could stay open.
    writer.write(patch(target) + chunks(CONTENT))
    status, text = await answer(reader)
    assert (status, b"Connection: close" in text) == (413, True)
    assert received
    writer.close()


async def test_stalled_chunked_body_is_cut_off(guarded, received):
    server = await guarded(with_limits(body_seconds=0.3))
    target = await begin(server)
    reader, writer = await server.connect()
    writer.write(patch(target) + chunks(CONTENT))
    status, text = await answer(reader)
    assert (status, b"Connection: close" in text) == (408, True)
    assert received
    assert await offset_of(server, target) == len(CONTENT)
    writer.close()
