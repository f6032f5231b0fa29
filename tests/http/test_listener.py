"""Listening sockets."""

import asyncio
import errno
import os
import socket
import stat
from contextlib import closing
from dataclasses import replace

import pytest
from aiohttp import ClientSession, UnixConnector

from config.errors import ConfigError
from config.settings import HttpNetwork, HttpSettings, Settings
from entrypoints.http.connection.fastpath.runner import GuardedRunner
from entrypoints.http.connection.listener import UNIX_MODE, Listener, ServerSockets, open_socket
from tests.http.conftest import open_app


def unix(path):
    return HttpSettings(net=HttpNetwork.UNIX, addr=str(path))


@pytest.fixture
def listening():
    """Sockets that are closed at the end."""
    opened = []

    def keep(sock):
        opened.append(sock)
        return sock

    yield keep
    for sock in opened:
        sock.close()


def accepts(host, port, family):
    with socket.socket(family) as client:
        client.settimeout(2)
        return client.connect_ex((host, port)) == 0


@pytest.mark.parametrize("addr", [":0", "[::]:0"])
def test_wildcard_listens_on_both_families(listening, addr):
    sock = listening(open_socket(HttpSettings(addr=addr)))
    port = sock.getsockname()[1]
    assert accepts("127.0.0.1", port, socket.AF_INET)
    assert accepts("::1", port, socket.AF_INET6)


@pytest.mark.parametrize(
    ("addr", "v4", "v6"),
    [("127.0.0.1:0", True, False), ("[::1]:0", False, True), ("localhost:0", True, False), ("0.0.0.0:0", True, False)],
)
def test_address_listens_on_its_own_family(listening, addr, v4, v6):
    sock = listening(open_socket(HttpSettings(addr=addr)))
    port = sock.getsockname()[1]
    assert accepts("127.0.0.1", port, socket.AF_INET) is v4
    assert accepts("::1", port, socket.AF_INET6) is v6


def test_port_in_use_is_an_error(listening):
    port = listening(open_socket(HttpSettings(addr="127.0.0.1:0"))).getsockname()[1]
    with pytest.raises(OSError, match="in use"):
        open_socket(HttpSettings(addr=f"127.0.0.1:{port}"))


@pytest.mark.parametrize("kind", ["tcp", "unix", "systemd"])
def test_duplicate_in_one_process_lets_no_accept_of_another_wait(listening, tmp_path, kind):
    given = listening(socket.create_server(("127.0.0.1", 0)))
    settings = unix(tmp_path / "socket") if kind == "unix" else HttpSettings(addr="127.0.0.1:0")
    sock = listening(open_socket(settings, [os.dup(given.fileno())] if kind == "systemd" else []))
    assert not os.get_blocking(sock.fileno())
    # The descriptors of all processes have one mode.
    listening(sock.dup())
    assert not os.get_blocking(sock.fileno())


def test_processes_share_a_port_exclusively(listening):
    settings = HttpSettings(addr="127.0.0.1:0")
    sockets = ServerSockets(settings, (), 3)
    with closing(sockets):
        port = sockets.enter(0).getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            ServerSockets(HttpSettings(addr=f"127.0.0.1:{port}"), (), 3)


def test_parent_that_stops_listening_keeps_no_queue(listening):
    sockets = ServerSockets(HttpSettings(addr="127.0.0.1:0"), (), 3)
    host, port = sockets.enter(1).getsockname()
    assert accepts(host, port, socket.AF_INET)
    sockets.close()
    assert not accepts(host, port, socket.AF_INET)
    listening(socket.create_server((host, port)))


def test_server_that_stops_leaves_the_file_of_its_successor(tmp_path):
    settings = unix(tmp_path / "socket")
    first = ServerSockets(settings, (), 1)
    first.refuse_new()
    # The first one still accepts the connections that wait.
    with closing(ServerSockets(settings, (), 1)):
        first.close()
        assert (tmp_path / "socket").is_socket()
    assert not (tmp_path / "socket").exists()


def test_worker_leaves_the_file_to_its_parent(tmp_path):
    settings = unix(tmp_path / "socket")
    with closing(ServerSockets(settings, (), 2)) as sockets:
        sockets.enter(0)
        sockets.refuse_new()
        assert (tmp_path / "socket").is_socket()


def test_stale_socket_is_replaced(listening, tmp_path):
    path = tmp_path / "socket"
    listening(open_socket(unix(path))).close()
    assert path.is_socket()
    listening(open_socket(unix(path)))
    assert stat.S_IMODE(path.stat().st_mode) == UNIX_MODE


def test_socket_in_use_is_not_removed(listening, tmp_path):
    listening(open_socket(unix(tmp_path / "socket")))
    with pytest.raises(OSError, match="in use") as caught:
        open_socket(unix(tmp_path / "socket"))
    assert caught.value.errno == errno.EADDRINUSE


def test_file_that_is_no_socket_is_not_removed(tmp_path):
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(ConfigError) as caught:
        open_socket(unix(path))
    assert caught.value.problems == (f"http.addr: {path}: exists and is not a socket",)
    assert path.read_text() == "precious"


def test_folder_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_socket(unix(tmp_path / "none" / "socket"))


def test_socket_of_systemd_takes_precedence(listening, tmp_path):
    given = listening(socket.create_server(("127.0.0.1", 0)))
    sock = listening(open_socket(unix(tmp_path / "socket"), [os.dup(given.fileno())]))
    assert sock.getsockname() == given.getsockname()
    assert not (tmp_path / "socket").exists()


def test_stop_leaves_a_socket_of_systemd_to_the_successor(listening):
    given = listening(socket.create_server(("127.0.0.1", 0)))
    sockets = ServerSockets(HttpSettings(), [os.dup(given.fileno())], 1)
    sockets.refuse_new()
    sockets.close()
    host, port = given.getsockname()
    assert accepts(host, port, socket.AF_INET)


def test_two_sockets_of_systemd_are_refused():
    with pytest.raises(ConfigError, match="exactly one"):
        open_socket(HttpSettings(), [3, 4])


async def test_unix_socket_serves_and_is_removed(services, tmp_path):
    path = tmp_path / "socket"
    settings = replace(Settings(), http=unix(path))
    runner = GuardedRunner(open_app(services, settings), settings.http.limits)
    await runner.setup()
    sockets = ServerSockets(settings.http, (), 1)
    listener = Listener(runner, sockets.enter(0), context=None, handshake_seconds=0)
    await listener.start()
    assert listener.name == f"unix:{path}"
    async with ClientSession(connector=UnixConnector(str(path))) as session:
        headers = {"X-Forwarded-Proto": "https", "Host": "a.example"}
        async with session.post("http://a/v2/a/blobs/uploads/", headers=headers) as response:
            assert response.headers["Location"].startswith("https://a.example/v2/a/blobs/uploads/")
    await runner.cleanup()
    sockets.close()
    assert not path.exists()


async def test_exchange_of_the_listener_refuses_no_connection(guarded):
    server = await guarded()
    refused = []

    async def knock():
        while True:
            try:
                _, writer = await server.connect()
            except OSError as error:
                refused.append(error)
            else:
                writer.close()
            await asyncio.sleep(0)

    knocking = asyncio.create_task(knock())
    for _ in range(50):
        server.listener.exchange(None)
        await asyncio.sleep(0.002)
    knocking.cancel()
    assert refused == []
