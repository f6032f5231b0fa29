"""Proxy for an S3 server that refuses the requests that Google's store and older MinIO and Ceph refuse."""

import http.client
import re
import threading
from collections import Counter
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from typing_extensions import override

_HOP_BY_HOP = frozenset({"connection", "content-length", "transfer-encoding", "expect"})
_LONG_BODY_BYTES = 64 * 1024
ALL_REFUSALS = frozenset({"DeleteObjects", "UploadPartCopy", "If-None-Match", "ListMultipartUploads"})


class LimitedS3(ThreadingHTTPServer):
    """Forwards accepted requests to `upstream`, and counts requests by name.

    Args:
        upstream: `host:port` of the server behind the proxy.
        refused: names of refused requests, as in `ALL_REFUSALS`, `CRC32` or `DeleteObjects without Content-MD5`.
        status: status of a refusal.
        code: error code of a refusal.
        page_entries_max: maximum number of entries on a page of a listing, even if the client requests more. `upstream`
            must not check signatures, because the signature covers the requested number.
    """

    daemon_threads = True
    # With the default of 5, a burst of connections waits seconds until the kernel tries again.
    request_queue_size = 128

    def __init__(
        self,
        upstream: str,
        refused: AbstractSet[str],
        *,
        status: int = 501,
        code: str = "NotImplemented",
        page_entries_max: int | None = None,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.refused = refused
        self.status = status
        self.code = code
        self.page_entries_max = page_entries_max
        self.counts: Counter[str] = Counter()
        self.headers: list[tuple[str, dict[str, str]]] = []
        """The method and the headers of each request."""
        self.damages = 0
        """The number of long bodies, from the next one on, of which one bit arrives inverted."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # The second packet of an answer would wait 40 ms for the acknowledgement of the first one.
    disable_nagle_algorithm = True
    server: LimitedS3

    @override
    def log_message(self, *_: object) -> None:
        """Suppress logging."""

    def _relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        names = self._names()
        if self.server.damages and len(body) > _LONG_BODY_BYTES:
            self.server.damages -= 1
            body = body[:-1] + bytes([body[-1] ^ 1])
        self.server.counts.update(names)
        self.server.headers.append((self.command, {name.lower(): value for name, value in self.headers.items()}))
        if names & self.server.refused:
            self._answer(self.server.status, {}, f"<Error><Code>{self.server.code}</Code></Error>".encode())
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        # Close the connection even if the client disconnects before the response.
        with closing(http.client.HTTPConnection(self.server.upstream, timeout=30)) as upstream:
            upstream.request(self.command, self._path_upstream(), body or None, headers)
            answer = upstream.getresponse()
            content = answer.read()
        kept = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP}
        length = answer.getheader("Content-Length") if self.command == "HEAD" else None
        self._answer(answer.status, kept, content, length)

    def _path_upstream(self) -> str:
        most = self.server.page_entries_max
        if most is None:
            return self.path
        return re.sub(r"(?<=[?&]max-keys=)\d+", lambda asked: str(min(int(asked[0]), most)), self.path)

    def _names(self) -> set[str]:
        query = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        names = {f"{self.command} {kind}" for kind in ("delete", "uploads", "uploadId") if kind in query}
        if "POST delete" in names:
            names.add("DeleteObjects")
            if "content-md5" not in self.headers:
                names.add("DeleteObjects without Content-MD5")
        if "GET uploads" in names:
            names.add("ListMultipartUploads")
        if "partNumber" in query and "x-amz-copy-source" in self.headers:
            names.add("UploadPartCopy")
        if {"x-amz-checksum-crc32", "x-amz-checksum-algorithm"} & {name.lower() for name in self.headers}:
            names.add("CRC32")
        if "if-none-match" in self.headers and self.command == "PUT":
            names.add("If-None-Match")
        return names or {self.command}

    def _answer(self, status: int, headers: dict[str, str], body: bytes, length: str | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _relay  # noqa: N815 - names that http.server calls


@contextmanager
def limited_s3(
    endpoint: str,
    refused: AbstractSet[str] = ALL_REFUSALS,
    *,
    status: int = 501,
    code: str = "NotImplemented",
    page_entries_max: int | None = None,
) -> Iterator[tuple[str, LimitedS3]]:
    """Run the proxy in front of an endpoint; yield its URL and the proxy."""
    server = LimitedS3(urlsplit(endpoint).netloc, refused, status=status, code=code, page_entries_max=page_entries_max)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
