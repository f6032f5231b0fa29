"""A client that costs little: plain sockets, kept open, and as little parsing as a measurement needs.

http.client would take as much of the machine's two cores as a fast server does, and so measure itself.
"""

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

_BODYLESS = {"GET", "HEAD", "DELETE"}
RECEIVE_BYTES = 256 * 1024
"""It stays in the processor's cache."""


class WireError(Exception):
    """A server answered something else than a measurement counts on."""


@dataclass(frozen=True)
class Reply:
    """The head of an answer, with the body unless it was only counted."""

    status: int
    headers: dict[str, str]
    body: bytes
    body_bytes: int


class Connection:
    """One keep-alive connection to a server on 127.0.0.1; used by one thread."""

    def __init__(self, port: int) -> None:
        self._host = f"127.0.0.1:{port}"
        self._port = port
        self._socket = self._connect()
        self._buffer = bytearray(RECEIVE_BYTES)

    def close(self) -> None:
        self._socket.close()

    def request(
        self,
        method: str,
        target: str,
        body: bytes | Path = b"",
        *,
        content_type: str = "application/octet-stream",
        accept: str = "*/*",
        keep_body: bool = True,
    ) -> Reply:
        """Send one request and read its answer; a `Path` is sent from the page cache by the kernel."""
        length = body.stat().st_size if isinstance(body, Path) else len(body)
        parts = urlsplit(target)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        # As clients do, which describe no body in requests that have none.
        described = f"Content-Type: {content_type}\r\nContent-Length: {length}\r\n" if method not in _BODYLESS else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\nAccept: {accept}\r\n{described}\r\n".encode()
        if isinstance(body, Path):
            self._socket.sendall(head)
            with body.open("rb") as file:
                self._socket.sendfile(file)
        else:
            self._socket.sendall(head + body)
        return self._read_reply(has_body=method != "HEAD", keep_body=keep_body)

    def _connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self._port), timeout=120)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _read_reply(self, *, has_body: bool, keep_body: bool) -> Reply:
        received = bytearray()
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._receive()
        first, *lines = received[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(first.split(" ", 2)[1])
        rest = bytes(received[end + 4 :])
        length = int(headers.get("content-length", "0")) if has_body and status not in {204, 304} else 0
        if headers.get("transfer-encoding") == "chunked":
            body = self._read_chunked(rest)
            length = len(body)
        else:
            body = self._read_rest(rest, length, keep_body=keep_body)
        if headers.get("connection") == "close":
            self._socket.close()
            self._socket = self._connect()
        return Reply(status, headers, body, length)

    def _read_rest(self, rest: bytes, length: int, *, keep_body: bool) -> bytes:
        missing = length - len(rest)
        pieces = [rest]
        while missing > 0:
            count = self._socket.recv_into(self._buffer)
            if not count:
                raise WireError("the server closed the connection in a body")
            if keep_body:
                pieces.append(bytes(self._buffer[:count]))
            missing -= count
        return b"".join(pieces)

    def _read_chunked(self, received: bytes) -> bytes:
        buffer, body = bytearray(received), bytearray()
        while True:
            while (end := buffer.find(b"\r\n")) < 0:
                buffer += self._receive()
            size = int(buffer[:end], 16)
            # The chunk ends with a line break of its own, the last and empty one too.
            while len(buffer) < end + 2 + size + 2:
                buffer += self._receive()
            body += buffer[end + 2 : end + 2 + size]
            del buffer[: end + 2 + size + 2]
            if not size:
                return bytes(body)

    def _receive(self) -> bytes:
        data = self._socket.recv(65_536)
        if not data:
            raise WireError("the server closed the connection")
        return data


@contextlib.contextmanager
def connected(port: int) -> Iterator[Connection]:
    """A connection for the length of a block."""
    connection = Connection(port)
    try:
        yield connection
    finally:
        connection.close()


def expect(reply: Reply, status: int) -> Reply:
    """The reply, if its status is the one that the measurement counts on."""
    if reply.status != status:
        raise WireError(f"{reply.status} instead of {status}: {reply.body[:500]!r}")
    return reply


def follow(reply: Reply, stores: dict[int, Connection]) -> Reply:
    """The answer of the store that a registry redirects to, without its body.

    Args:
        reply: the redirect.
        stores: the open connections to stores by their port, to which a new one is added.
    """
    location = urlsplit(expect(reply, 307).headers["location"])
    port = location.port or 80
    if port not in stores:
        stores[port] = Connection(port)
    return stores[port].request("GET", f"{location.path}?{location.query}", keep_body=False)


def push_blob(connection: Connection, repository: str, digest: str, body: bytes | Path) -> None:
    """Push a blob as docker does for large ones: POST, PATCH, PUT; a small one with POST and PUT."""
    location = expect(connection.request("POST", f"/v2/{repository}/blobs/uploads/"), 202).headers["location"]
    if isinstance(body, Path):
        location = expect(connection.request("PATCH", location, body), 202).headers["location"]
        body = b""
    separator = "&" if urlsplit(location).query else "?"
    expect(connection.request("PUT", f"{location}{separator}digest={digest}", body), 201)


def scratch_file(folder: Path, data: bytes) -> Path:
    """A file that is in the page cache, to be sent without a copy in this process."""
    path = folder / f"blob-{os.urandom(8).hex()}"
    path.write_bytes(data)
    return path
