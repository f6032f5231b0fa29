"""Stores that speak S3 with the deviations that Google, Aliyun and OpenStack document, in front of an S3 server."""

import http.client
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qsl, urlsplit

from typing_extensions import override

_HOP_BY_HOP = frozenset({"connection", "content-length", "transfer-encoding", "expect"})
_ERROR = "<Error><Code>{}</Code></Error>"


class AnsweredError(Exception):
    """Answers a request without the server behind."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


class PresetStore(BaseHTTPRequestHandler):
    """Forwards requests to `upstream`, which must not check signatures; ignores `If-None-Match: *` in all stores."""

    protocol_version = "HTTP/1.1"
    upstream: ClassVar[str]
    counts: ClassVar[Counter[str]]

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the request."""
        return dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))

    def prepare(self, headers: dict[str, str]) -> str:
        """Return the path at the server behind, or raise an `AnsweredError`; may change the headers."""
        del headers
        return self.path

    def complete(self, headers: dict[str, str], status: int, body: bytes) -> tuple[int, bytes]:
        """Return the status and the body for the client; may change the headers of the answer."""
        del headers
        return status, body

    def relay(self) -> None:
        """Answer one request."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        headers.pop("If-None-Match", None)
        self.counts[f"{self.command} {'&'.join(sorted(self.query))}".strip()] += 1
        try:
            path = self.prepare(headers)
        except AnsweredError as answer:
            self._send(answer.status, {}, _ERROR.format(answer.code).encode())
            return
        with closing(http.client.HTTPConnection(self.upstream, timeout=30)) as upstream:
            upstream.request(self.command, path, body or None, headers)
            found = upstream.getresponse()
            content = found.read()
        kept = {name: value for name, value in found.getheaders() if name.lower() not in _HOP_BY_HOP}
        length = found.getheader("Content-Length") if self.command == "HEAD" else None
        status, content = self.complete(kept, found.status, content)
        self._send(status, kept, content, length)

    def _send(self, status: int, headers: dict[str, str], body: bytes, length: str | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    @override
    def log_message(self, *_: object) -> None:
        """Suppress logging."""

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = relay  # noqa: N815 - names that http.server calls


class GoogleStore(PresetStore):
    """Google's XML API: no deletion of several objects, no copy of parts, 404 for the deletion of a missing object."""

    @override
    def prepare(self, headers: dict[str, str]) -> str:
        if self.command == "POST" and "delete" in self.query:
            raise AnsweredError(400, "InvalidArgument")
        if "partNumber" in self.query and "x-amz-copy-source" in self.headers:
            raise AnsweredError(501, "NotImplemented")
        if self.command == "DELETE" and not self.query:
            with closing(http.client.HTTPConnection(self.upstream, timeout=30)) as upstream:
                upstream.request("HEAD", self.path, headers=headers)
                if upstream.getresponse().status == 404:
                    raise AnsweredError(404, "NoSuchKey")
        return self.path


class AliyunStore(PresetStore):
    """OSS: buckets in the host name only, upper-case ETags, and the whole object for a range that does not fit."""

    _wanted: tuple[int, int | None] | None = None

    @override
    def prepare(self, headers: dict[str, str]) -> str:
        host = self.headers["Host"]
        bucket, separator, _ = host.partition(".s3.oss-")
        if not separator:
            raise AnsweredError(403, "SecondLevelDomainForbidden")
        self._wanted = None
        wanted = headers.get("Range")
        if wanted is not None:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            self._wanted = int(first), int(last) if last else None
            headers.pop("Range")
        headers["Host"] = self.upstream
        return f"/{bucket}{self.path}"

    @override
    def complete(self, headers: dict[str, str], status: int, body: bytes) -> tuple[int, bytes]:
        # The server behind compares the ETags of parts by their letters.
        if "ETag" in headers and "partNumber" not in self.query:
            headers["ETag"] = headers["ETag"].upper()
        if self._wanted is None or status != 200:
            return status, body
        first, last = self._wanted
        if first >= len(body) or (last is not None and last >= len(body)):
            return status, body
        end = len(body) if last is None else last + 1
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(body)}"
        return 206, body[first:end]


class OpenStackStore(PresetStore):
    """Swift's `s3api`: everything that is used here, except conditions."""


@contextmanager
def preset_store(kind: type[PresetStore], upstream: str) -> Iterator[tuple[int, type[PresetStore]]]:
    """Run a store in front of the server at `upstream`, a URL; yield its port and its handler with the counts."""
    handler = type(kind.__name__, (kind,), {"upstream": urlsplit(upstream).netloc, "counts": Counter()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server.server_port, handler
        finally:
            server.shutdown()
            thread.join()
