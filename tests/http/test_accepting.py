"""Acceptance of connections while descriptors are scarce."""

import asyncio
import errno
import os
import resource
import socket

import pytest

from config.settings import Settings
from entrypoints.http.connection.accepting import raise_descriptor_limit
from entrypoints.http.connection.fastpath.runner import GuardedRunner
from entrypoints.http.connection.listener import Listener
from tests.http.conftest import open_app

REQUEST = b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n"


class ScarceSocket(socket.socket):
    """A listening socket without descriptors for connections, until there are some."""

    is_scarce = True
    attempts = 0

    def accept(self):
        self.attempts += 1
        if self.is_scarce:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return super().accept()


@pytest.fixture
async def runner(services):
    settings = Settings()
    runner = GuardedRunner(open_app(services, settings), settings.http.limits)
    await runner.setup()
    yield runner
    await runner.cleanup()


@pytest.fixture
async def sock(runner):
    """A socket that is served, without descriptors."""
    sock = ScarceSocket(fileno=socket.create_server(("127.0.0.1", 0)).detach())
    await Listener(runner, sock, make_room=runner.close_idle).start()
    return sock


@pytest.fixture
async def connect(sock):
    opened = []

    async def connect_one():
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        opened.append(writer)
        return reader, writer

    yield connect_one
    for writer in opened:
        writer.close()
        await writer.wait_closed()


async def test_lack_of_descriptors_is_logged_once_and_waited_out(sock, connect, caplog):
    held = [await connect() for _ in range(20)]
    await asyncio.sleep(2.5)
    assert 2 <= sock.attempts <= 4
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "few file descriptors left, closing idle connections"
    ]
    sock.is_scarce = False
    for reader, writer in held:
        writer.write(REQUEST)
        assert await asyncio.wait_for(reader.read(15), 60) == b"HTTP/1.1 200 OK"


async def test_longest_idle_connection_is_closed_first_to_make_room(sock, connect, runner):
    sock.is_scarce = False
    first, second, third = [await connect() for _ in range(3)]
    await asyncio.sleep(1.1)
    first[1].write(REQUEST)
    assert (await first[0].readuntil(b"{}")).startswith(b"HTTP/1.1 200 OK")
    for reader, _ in (second, third):
        assert runner.close_idle() == 1
        assert await asyncio.wait_for(reader.read(), 60) == b""
    # The first one, which waits since its answer, is still open.
    first[1].write(REQUEST)
    assert (await first[0].readuntil(b"{}")).startswith(b"HTTP/1.1 200 OK")


async def test_connection_with_a_request_is_not_closed_as_idle(sock, connect, runner):
    sock.is_scarce = False
    reader, writer = await connect()
    writer.write(
        b"POST /v2/a/blobs/uploads/?digest=sha256:%b HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n" % (b"0" * 64)
    )
    await asyncio.sleep(1.1)
    assert runner.close_idle() == 0
    writer.write(b"123456789")
    assert (await asyncio.wait_for(reader.read(15), 60)).startswith(b"HTTP/1.1 400")


def test_soft_limit_is_raised_to_the_hard_one():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1] - 1, before[1]))
    raise_descriptor_limit()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    raise_descriptor_limit()
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_connections_that_wait_at_a_stop_are_answered(runner):
    sock = socket.create_server(("127.0.0.1", 0), backlog=128)
    listener = Listener(runner, sock)
    await listener.start()
    clients = [socket.create_connection(sock.getsockname()) for _ in range(100)]
    for client in clients:
        client.sendall(REQUEST)
    # The event loop has not run since the first of them connected.
    await listener.stop()
    for client in clients:
        client.settimeout(0)
        answer = await asyncio.get_running_loop().sock_recv(client, 4096)
        assert answer.startswith(b"HTTP/1.1 200 ")
        client.close()
