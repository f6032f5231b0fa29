"""TLS connections as clients see them: the handshake, its failures, and the end of a connection."""

import asyncio
import gc
import socket
import ssl
import struct
from contextlib import suppress
from typing import Self

import pytest
from aiohttp import web

from config.settings import ClientAuth, Settings, TlsSettings
from entrypoints.http.connection.tls import build_context
from entrypoints.http.connection.tls_transport import TlsTransport
from tests.support.certificates import Authority
from tests.support.guarded_server import over_tls, run_guarded, with_limits
from tests.support.streams import payload

GET = b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET /v2/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@pytest.fixture
def wire(tmp_path):
    return over_tls(tmp_path)


def app_of(handle):
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    return app


class Client:
    """A client that encrypts in memory, so that the test decides which bytes are sent."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        # Python up to 3.11.3, as in Debian 12, takes the end of a connection for the end of its session by default.
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.port = port

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    async def call(self, function, *arguments):
        """Call a function of the session, and exchange records until it returns."""
        while True:
            try:
                return function(*arguments)
            except ssl.SSLWantReadError:
                self.writer.write(self.outgoing.read())
                received = await asyncio.wait_for(self.reader.read(65536), 10)
                self.incoming.write(received) if received else self.incoming.write_eof()
            except ssl.SSLError as error:
                if error.reason == "UNEXPECTED_EOF_WHILE_READING":
                    # The same versions raise the base class.
                    raise ssl.SSLEOFError from error
                raise
            finally:
                self.writer.write(self.outgoing.read())

    async def read_all(self) -> bytes:
        """Return all data until the end of the session."""
        answer = b""
        while piece := await self.call(self.session.read, 65536):
            answer += piece
        return answer


async def test_response_ends_with_the_end_of_the_session(guarded, wire):
    """Without it, a client could not tell a complete body without a length from one that an attacker cut off."""
    server = await guarded(**wire)
    async with Client(server.port, wire["client_context"]) as client:
        await client.call(client.session.do_handshake)
        await client.call(client.session.write, LAST)
        # An end of the connection alone would raise SSLEOFError.
        assert (await client.read_all()).startswith(b"HTTP/1.1 200 ")


async def test_records_may_arrive_byte_by_byte(guarded, wire):
    server = await guarded(**wire)
    async with Client(server.port, wire["client_context"]) as client:
        await client.call(client.session.do_handshake)
        client.session.write(GET)
        for byte in client.outgoing.read():
            client.writer.write(bytes([byte]))
            await client.writer.drain()
            await asyncio.sleep(0.001)
        assert (await client.call(client.session.read, 65536)).startswith(b"HTTP/1.1 200 ")


async def test_request_may_arrive_together_with_the_end_of_the_handshake(guarded, wire):
    server = await guarded(**wire)
    async with Client(server.port, wire["client_context"]) as client:
        with pytest.raises(ssl.SSLWantReadError):
            client.session.do_handshake()
        client.writer.write(client.outgoing.read())
        while True:
            client.incoming.write(await asyncio.wait_for(client.reader.read(65536), 10))
            try:
                client.session.do_handshake()
                break
            except ssl.SSLWantReadError:
                continue
        client.session.write(GET)
        # One segment holds the client's last message of the handshake and the request.
        client.writer.write(client.outgoing.read())
        assert (await client.call(client.session.read, 65536)).startswith(b"HTTP/1.1 200 ")


async def test_client_that_ends_its_session_is_disconnected(guarded, wire):
    server = await guarded(**wire)
    async with Client(server.port, wire["client_context"]) as client:
        await client.call(client.session.do_handshake)
        await client.call(client.session.write, GET)
        assert (await client.call(client.session.read, 65536)).startswith(b"HTTP/1.1 200 ")
        await client.call(client.session.unwrap)
        assert await asyncio.wait_for(client.reader.read(), 10) == b""


async def test_forged_record_ends_the_connection_alone(guarded, wire):
    server = await guarded(**wire)
    async with Client(server.port, wire["client_context"]) as client:
        await client.call(client.session.do_handshake)
        await client.call(client.session.write, GET)
        await client.call(client.session.read, 65536)
        client.writer.write(b"\x17\x03\x03\x00\x20" + bytes(32))
        with pytest.raises(ssl.SSLError):
            await client.call(client.session.read, 65536)
        assert await asyncio.wait_for(client.reader.read(), 10) == b""
    assert b"200 OK" in await server.exchange(LAST)


async def test_handshake_that_takes_too_long_is_cut_off(guarded, wire):
    server = await guarded(with_limits(header_seconds=0.3), **wire)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"\x16\x03\x01\x02\x00\x01")
    began = asyncio.get_running_loop().time()
    # An abort may reset the connection.
    with suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), 10) == b""
    assert asyncio.get_running_loop().time() - began < 5
    writer.close()
    assert b"200 OK" in await server.exchange(LAST)


async def test_finished_handshake_is_not_timed(guarded, wire):
    server = await guarded(with_limits(header_seconds=0.3), **wire)
    reader, writer = await server.connect()
    writer.write(GET)
    assert (await reader.readuntil(b"{}")).startswith(b"HTTP/1.1 200 ")
    await asyncio.sleep(0.6)
    writer.write(LAST)
    assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_client_that_leaves_during_the_handshake_harms_no_other(guarded, wire):
    server = await guarded(**wire)
    for linger in (None, struct.pack("ii", 1, 0)):
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.sendall(b"\x16\x03\x01\x02\x00\x01")
            if linger:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    assert b"200 OK" in await server.exchange(LAST)


async def test_client_that_leaves_at_the_end_of_the_handshake_is_no_error(guarded, wire, caplog):
    """The server's next write fails, before the protocol of the connection exists."""
    server = await guarded(**wire)
    async with Client(server.port, wire["client_context"]) as client:
        with pytest.raises(ssl.SSLWantReadError):
            client.session.do_handshake()
        client.writer.write(client.outgoing.read())
        while True:
            client.incoming.write(await asyncio.wait_for(client.reader.read(65536), 10))
            with suppress(ssl.SSLWantReadError):
                client.session.do_handshake()
                break
        sock = client.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.writer.write(client.outgoing.read())
        client.writer.transport.abort()
    assert b"200 OK" in await server.exchange(LAST)
    gc.collect()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.fastpath_only
async def test_client_without_a_certificate_gets_the_reason(guarded, tmp_path):
    authority = Authority(tmp_path)
    pair = authority.issue("server")
    settings = TlsSettings(
        certificate=str(pair.certificate),
        key=str(pair.key),
        client_cas=(str(authority.path),),
        client_auth=ClientAuth.REQUIRE_AND_VERIFY,
    )
    server = await guarded(context=build_context(settings))
    async with Client(server.port, pair.trusting_context()) as client:
        # In TLS 1.3, the client's side of the handshake is complete before the server's.
        await client.call(client.session.do_handshake)
        with pytest.raises(ssl.SSLError, match=r"(?i)certificate.required"):
            await client.call(client.session.read, 1)


async def test_connections_above_the_limit_are_refused(guarded, wire):
    server = await guarded(with_limits(connections=1), **wire)
    reader, writer = await server.connect()
    writer.write(GET)
    await reader.readuntil(b"{}")
    assert b"503 Service Unavailable" in await server.exchange(b"")
    writer.close()


async def test_small_responses_come_in_one_record_each(guarded, wire):
    server = await guarded(**wire)
    async with Client(server.port, wire["client_context"]) as client:
        await client.call(client.session.do_handshake)
        for _ in range(3):
            await client.call(client.session.write, GET)
            answer = await client.call(client.session.read, 65536)
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert answer.endswith(b"{}")


@pytest.mark.fastpath_only
async def test_paused_connection_delivers_later(wire):
    """Bytes that a paused connection has received are neither lost nor delivered early."""
    content = payload(3_000_000)
    received = bytearray()
    may_read = asyncio.Event()

    async def store(request):
        assert isinstance(request.transport, TlsTransport)
        request.transport.pause_reading()
        assert not request.transport.is_reading()
        await may_read.wait()
        before = request.content.total_bytes
        await asyncio.sleep(0.1)
        assert request.content.total_bytes == before
        request.transport.resume_reading()
        received.extend(await request.read())
        return web.Response()

    app = web.Application(client_max_size=10_000_000)
    app.router.add_route("*", "/{path:.*}", store)
    async with run_guarded(app, Settings(), **wire) as server:
        reader, writer = await server.connect()
        writer.write(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
        await asyncio.sleep(0.1)
        may_read.set()
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n"), 20)).startswith(b"HTTP/1.1 200 ")
        assert bytes(received) == content
        writer.close()


@pytest.mark.fastpath_only
async def test_connection_that_is_closed_while_it_is_lent_is_cut_off(wire):
    """The client must not take what arrived for the whole response, and the session has only one user at a time."""

    async def lend_and_close(request):
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        with request.transport.lend():
            with pytest.raises(RuntimeError):
                request.transport.write(b"x")
            request.transport.close()
            assert request.transport.is_closing()
        return response

    async with (
        run_guarded(app_of(lend_and_close), Settings(), **wire) as server,
        Client(server.port, wire["client_context"]) as client,
    ):
        await client.call(client.session.do_handshake)
        await client.call(client.session.write, GET)
        with pytest.raises((ssl.SSLEOFError, ConnectionError)):
            await client.read_all()


@pytest.mark.fastpath_only
async def test_part_of_a_record_is_never_followed_by_another(wire):
    async def keep_without_sending(request):
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        with request.transport.lend():
            request.transport.session.keep(memoryview(bytes(500)))
        assert request.transport is None or request.transport.is_closing()
        return response

    async with (
        run_guarded(app_of(keep_without_sending), Settings(), **wire) as server,
        Client(server.port, wire["client_context"]) as client,
    ):
        await client.call(client.session.do_handshake)
        await client.call(client.session.write, GET)
        with pytest.raises((ssl.SSLEOFError, ConnectionError)):
            await client.read_all()


async def test_client_that_reads_nothing_costs_bounded_memory(wire):
    """The handler is held up by the socket's own buffer, not by one of TLS behind it."""
    written = 0

    async def stream(request):
        nonlocal written
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(100_000))
            written += 100_000

    async with run_guarded(app_of(stream), Settings(), **wire) as server:
        _, writer = await server.connect()
        assert isinstance(writer.transport, asyncio.Transport)
        writer.transport.pause_reading()
        writer.write(GET)
        await asyncio.sleep(0.5)
        before = written
        await asyncio.sleep(0.3)
        assert 0 < written == before < 50_000_000
        writer.transport.abort()


async def test_client_may_change_its_keys(guarded, wire):
    server = await guarded(**wire)
    command = ("openssl", "s_client", "-tls1_3", "-connect", f"127.0.0.1:{server.port}")
    pipe, merged = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
    client = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=merged)
    assert client.stdin
    assert client.stdout
    # A line that begins with this letter changes the client's keys, and requires the server to change its own.
    client.stdin.write(b"K\n")
    reading = asyncio.create_task(client.stdout.read())
    async with asyncio.timeout(20):
        while not reading.done():
            await asyncio.sleep(0.3)
            # The client drops what it reads together with the line above.
            client.stdin.write(LAST)
        await client.wait()
    output = await reading
    assert b"KEYUPDATE" in output
    assert b"HTTP/1.1 200 OK" in output
