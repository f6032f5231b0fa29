"""Clients that disconnect at any moment, in any manner, cause one log line and no warning."""

import contextlib
import os
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.oci import digest_of
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient
from tests.support.tls_servers import TlsRegistryServer

pytestmark = pytest.mark.e2e

LOG = {"log": {"accesslog": {"format": "combined"}}}
SIZE = 20_000_000


class Peer:
    """A server, and how to connect to it."""

    def __init__(self, server: RegistryServer, context: ssl.SSLContext | None) -> None:
        self.server = server
        self.context = context
        self.client = RegistryClient(server.host, context=context)

    def connect(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.server.port), timeout=30)
        return self.context.wrap_socket(sock, server_hostname="localhost") if self.context else sock


@pytest.fixture(params=["plain", "tls"])
def peer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Peer]:
    if request.param == "plain":
        with RegistryServer(tmp_path / "server", tmp_path / "storage", config=LOG) as server:
            yield Peer(server, None)
        return
    pair = Authority(tmp_path).issue("localhost")
    context = pair.trusting_context()
    context.check_hostname = False
    with TlsRegistryServer(tmp_path / "server", tmp_path / "storage", pair, config=LOG) as server:
        yield Peer(server, context)


def end(sock: socket.socket, manner: str) -> None:
    """Close a connection: in order, with TLS's goodbye, or with a reset."""
    if manner == "goodbye" and isinstance(sock, ssl.SSLSocket):
        sock.settimeout(0)
        # It sends its part; what else is under way does not matter.
        with contextlib.suppress(ssl.SSLError, OSError):
            sock.unwrap()
    if manner == "reset":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_hang_ups_are_logged_with_one_line_each(peer: Peer) -> None:
    digest = peer.client.push_blob("a/b", os.urandom(SIZE))
    manners = ("close", "goodbye", "reset") * 4
    for manner in manners:
        for sent in (b"", b"GET /v2/ HT", b"\x16\x03\x01"):
            sock = peer.connect()
            sock.sendall(sent)
            end(sock, manner)
        sock = peer.connect()
        sock.sendall(f"GET /v2/a/b/blobs/{digest} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert sock.recv(1000)
        end(sock, manner)
    lines = wait_for_lines(peer.server, f"GET /v2/a/b/blobs/{digest} ", len(manners))
    assert all('" 499 ' in line for line in lines)
    assert all(0 < int(line.split('" 499 ')[1].split()[0]) < SIZE for line in lines)
    assert peer.server.stop() == 0
    log = peer.server.log()
    assert "level=warning" not in log
    assert "level=error" not in log
    assert log.count('msg="client disconnected"') == len(manners)


def wait_for_lines(server: RegistryServer, text: str, count: int) -> list[str]:
    ends = time.monotonic() + 60
    while True:
        lines = [line for line in server.log().splitlines() if text in line]
        if len(lines) >= count:
            return lines
        assert time.monotonic() < ends, server.log()[-2000:]
        time.sleep(0.05)


def test_cut_upload_leaves_one_line_and_its_session(peer: Peer) -> None:
    location = peer.client.start_upload("a/b").header("Location")
    path = location.partition(peer.server.host)[2]
    sock = peer.connect()
    sock.sendall(f"PATCH {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n0123456789".encode())
    end(sock, "reset" if peer.context is None else "close")
    [line] = wait_for_lines(peer.server, "PATCH /v2/a/b/blobs/uploads/", 1)
    assert '" 499 ' in line
    content = b"the whole"
    location = peer.client.start_upload("a/b").header("Location")
    peer.client.finish_upload(location, digest_of(content), content).expect(201)
    assert peer.server.stop() == 0
    assert "level=error" not in peer.server.log()
