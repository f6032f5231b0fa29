"""The health check of the container image follows the address of the registry, with and without TLS."""

import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typing_extensions import override

from entrypoints.healthcheck import main
from tests.support.certificates import Authority
from tests.support.ports import free_port


class Handler(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/healthz" else 500)
        self.send_header("Content-Length", "0")
        self.end_headers()

    @override
    def address_string(self) -> str:
        return ""

    @override
    def log_message(self, *_: object) -> None:
        """Print nothing."""


class Failing(Handler):
    status = 503


class Quiet(ThreadingHTTPServer):
    @override
    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing about handshakes that fail."""


class UnixServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def with_tls(server: ThreadingHTTPServer, folder: Path, *, requires_client: bool = False) -> ThreadingHTTPServer:
    pair = Authority(folder).issue("registry")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    if requires_client:
        context.load_verify_locations(pair.authority)
        context.verify_mode = ssl.CERT_REQUIRED
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return server


@pytest.mark.parametrize("host", ["", "0.0.0.0", "127.0.0.1", "localhost"])  # noqa: S104
def test_plain_server_is_alive(host: str) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with serving(server):
        assert main([f"{host}:{server.server_port}"]) == 0


def test_failing_server_is_not(tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Failing)
    with serving(server):
        assert main([f":{server.server_port}"]) == 1
    assert main([f":{free_port()}"]) == 1
    assert main([str(tmp_path / "none.sock")]) == 1


@pytest.mark.parametrize("requires_client", [False, True])
def test_server_with_tls_is_alive(tmp_path: Path, *, requires_client: bool) -> None:
    server = with_tls(Quiet(("127.0.0.1", 0), Handler), tmp_path, requires_client=requires_client)
    with serving(server):
        assert main([f"127.0.0.1:{server.server_port}"]) == 0


def test_server_on_a_unix_socket_is_alive(tmp_path: Path) -> None:
    with serving(UnixServer(str(tmp_path / "s"), Handler)):
        assert main([str(tmp_path / "s")]) == 0


def test_default_address_is_that_of_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("entrypoints.healthcheck.is_alive", lambda address: address == ":5000")
    assert (main([]), main([""]), main([":5001"])) == (0, 0, 1)
