"""Clients that hold a connection without using it are disconnected after a limited time."""

import asyncio
import contextlib
import logging
import re
import socket
import time
from dataclasses import replace

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request

from config.settings import LimitSettings
from entrypoints.http.connection.streaming import RequestBody
from entrypoints.http.keys import BODY_LIMITS
from tests.support.guarded_server import with_limits
from tests.support.quiet import quiet

HEAD = b"GET /v2/ HTTP/1.1\r\nHost: a\r\n"


async def read_until_closed(reader):
    # A server that closes with bytes unread resets the connection.
    with contextlib.suppress(ConnectionError):
        await read_to_the_end(reader)


async def read_to_the_end(reader):
    async with asyncio.timeout(60):
        while await reader.read(65536):
            pass


@pytest.mark.fastpath_only
@pytest.mark.parametrize("sent", [b"", b"G", HEAD, HEAD + b"X: "])
async def test_head_that_does_not_end_is_cut_off(guarded, sent):
    server = await guarded(with_limits(header_seconds=0.3))
    begun = time.monotonic()
    reader, writer = await server.connect()
    writer.write(sent)
    await read_until_closed(reader)
    assert time.monotonic() - begun > 0.2
    writer.close()


@pytest.mark.fastpath_only
async def test_trickling_head_does_not_extend_its_time(guarded):
    server = await guarded(with_limits(header_seconds=0.5))
    reader, writer = await server.connect()
    writer.write(HEAD)

    async def drip():
        while True:
            writer.write(b"X: y\r\n")
            await asyncio.sleep(0.05)

    dripping = asyncio.create_task(drip())
    await read_until_closed(reader)
    dripping.cancel()
    writer.close()


@pytest.mark.fastpath_only
async def test_second_head_has_a_time_limit_too(guarded):
    server = await guarded(with_limits(header_seconds=0.3, keepalive_seconds=30))
    reader, writer = await server.connect()
    writer.write(HEAD + b"\r\n")
    await reader.readuntil(b"{}")
    await asyncio.sleep(0.5)
    begun = time.monotonic()
    writer.write(HEAD)
    await read_until_closed(reader)
    assert time.monotonic() - begun > 0.2
    writer.close()


async def test_idle_connection_lives_as_long_as_configured(guarded):
    server = await guarded(with_limits(header_seconds=0.2, keepalive_seconds=1))
    reader, writer = await server.connect()
    begun = time.monotonic()
    writer.write(HEAD + b"\r\n")
    await reader.readuntil(b"{}")
    await read_until_closed(reader)
    assert time.monotonic() - begun > 0.7
    writer.close()


async def begin(server):
    answer = await server.exchange(b"POST /v2/a/blobs/uploads/ HTTP/1.0\r\nHost: a\r\n\r\n")
    found = re.search(rb"Location: http://a(\S+)", answer)
    assert found
    return found[1]


async def status(server, target):
    path = target.partition(b"?")[0]
    return await server.exchange(b"GET " + path + b" HTTP/1.0\r\nHost: a\r\n\r\n")


async def test_stalled_body_is_cut_off_and_its_bytes_kept(guarded):
    server = await guarded(with_limits(body_seconds=0.3))
    target = await begin(server)
    reader, writer = await server.connect()
    writer.write(b"PATCH " + target + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n0123456789")
    answer = await reader.readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"Connection: close" in answer
    writer.close()
    assert b"\r\nRange: 0-9\r\n" in await status(server, target)


async def test_trickling_body_is_cut_off_and_its_bytes_kept(guarded):
    server = await guarded(with_limits(body_seconds=0.5, body_rate=1000))
    target = await begin(server)
    reader, writer = await server.connect()
    writer.write(b"PATCH " + target + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n0123456789")

    async def drip():
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.05)

    dripping = asyncio.create_task(drip())
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
    dripping.cancel()
    assert answer.startswith(b"HTTP/1.1 408 ")
    writer.close()
    found = re.search(rb"\r\nRange: 0-(\d+)\r\n", await status(server, target))
    assert found
    assert int(found[1]) >= 9


async def test_slow_but_steady_body_is_accepted(monkeypatch):
    """The body takes longer than `body_seconds`, by a clock that advances between the pieces alone."""
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now)
    protocol = BaseProtocol(loop)
    protocol.connection_made(asyncio.Transport())
    content = StreamReader(protocol, 2**16, loop=loop)
    request = make_mocked_request("PATCH", "/", headers={"Content-Length": "200"}, payload=content)
    request[BODY_LIMITS] = replace(LimitSettings(), body_seconds=30, body_rate=1)
    reading = asyncio.create_task(collect(RequestBody(request)))
    for _ in range(20):
        await quiet()
        now += 10
        content.feed_data(b"0123456789")
    content.feed_eof()
    assert await reading == b"0123456789" * 20


async def collect(body):
    return b"".join([piece async for piece in body])


async def test_body_may_pause_without_a_limit(guarded):
    server = await guarded(with_limits(body_seconds=0))
    target = await begin(server)
    reader, writer = await server.connect()
    writer.write(b"PATCH " + target + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx")
    await asyncio.sleep(0.3)
    writer.write(b"y")
    assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)).startswith(b"HTTP/1.1 202 ")
    writer.close()


async def test_client_that_receives_nothing_of_a_blob_is_cut_off(guarded, services, caplog):
    caplog.set_level(logging.INFO)
    digest = await services.push_blob("a", bytes(32 * 1024 * 1024))
    server = await guarded(with_limits(send_seconds=1))
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(f"GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        deadline = time.monotonic() + 60
        while "client disconnected" not in caplog.text and time.monotonic() < deadline:  # noqa: ASYNC110 - a log has no event
            await asyncio.sleep(0.1)
    assert "client disconnected" in caplog.text


@pytest.mark.fastpath_only
async def test_two_hundred_slow_clients_do_not_block_another_client(guarded):
    server = await guarded(with_limits(header_seconds=1))
    slow = [await server.connect() for _ in range(200)]
    for _, writer in slow:
        writer.write(HEAD)
    assert b" 200 " in await server.exchange(b"GET /v2/ HTTP/1.0\r\n\r\n")
    for reader, writer in slow:
        await read_until_closed(reader)
        writer.close()
