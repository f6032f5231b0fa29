"""An upstream registry with a slow line: `python -m tests.benchmarks.limited_upstream PORT RATE IMAGE_BYTES`.

The server holds an image under the tag `v1` of each repository name, made from the name when `/prepare/<name>` is
requested. All responses share one rate, in bytes per second. `/counters` returns the number of sent bytes.
"""

import json
import random
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.oci import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Content

LAYERS = 4
_PIECE_BYTES = 64 * 1024


class Line:
    """A rate that all senders share."""

    def __init__(self, bytes_per_second: float) -> None:
        self._bytes_per_second = bytes_per_second
        self._lock = threading.Lock()
        self._free_at = 0.0
        self.sent_bytes = 0

    def wait_for(self, count: int) -> None:
        """Return when the line has time for this many bytes."""
        with self._lock:
            begin = max(self._free_at, time.monotonic())
            self._free_at = begin + count / self._bytes_per_second
            self.sent_bytes += count
        time.sleep(max(0.0, begin - time.monotonic()))


class LimitedUpstream(ThreadingHTTPServer):
    """The server with its images and counters."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, bytes_per_second: float, image_bytes: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.line = Line(bytes_per_second)
        self.manifests: dict[str, Content] = {}
        self.blobs: dict[str, Content] = {}
        self._image_bytes = image_bytes

    def prepare(self, name: str) -> None:
        """Make the image of a repository."""
        generator = random.Random(name)
        layers = [Content(OCI_LAYER, generator.randbytes(self._image_bytes // LAYERS)) for _ in range(LAYERS)]
        config = Content(OCI_CONFIG, json.dumps({"architecture": "amd64", "os": "linux", "name": name}).encode())
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": config.descriptor(),
            "layers": [layer.descriptor() for layer in layers],
        }
        manifest = Content(OCI_MANIFEST, json.dumps(document).encode())
        self.blobs |= {blob.digest: blob for blob in (config, *layers)}
        self.manifests |= {f"{name}/manifests/v1": manifest, f"{name}/manifests/{manifest.digest}": manifest}


class Handler(BaseHTTPRequestHandler):
    """Answers pulls, without authentication."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: LimitedUpstream

    def do_GET(self) -> None:
        kind, _, path = self.path.removeprefix("/").partition("/")
        if kind == "prepare":
            self.server.prepare(path)
            self._reply(b"ready")
        elif kind == "counters":
            self._reply(str(self.server.line.sent_bytes).encode())
        elif not path:
            self._reply(b"{}")
        else:
            self._serve(path)

    do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

    def _serve(self, path: str) -> None:
        content = self.server.blobs.get(path.rpartition("/blobs/")[2]) or self.server.manifests.get(path)
        if content is None:
            self.send_error(404)
        else:
            self._answer(content)

    def _reply(self, body: bytes) -> None:
        """Send a response that does not count."""
        self.send_response_only(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _answer(self, content: Content) -> None:
        first, last = 0, len(content.data) - 1
        if wanted := self.headers.get("Range"):
            begin, _, end = wanted.removeprefix("bytes=").partition("-")
            first, last = int(begin), int(end or last)
            self.send_response_only(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content.data)}")
        else:
            self.send_response_only(200)
        self.send_header("Content-Type", content.media_type)
        self.send_header("Docker-Content-Digest", content.digest)
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        if self.command == "HEAD":
            return
        view = memoryview(content.data)[first : last + 1]
        for offset in range(0, len(view), _PIECE_BYTES):
            piece = view[offset : offset + _PIECE_BYTES]
            self.server.line.wait_for(len(piece))
            self.wfile.write(piece)

    def log_message(self, *_args: object) -> None:
        """Write no log."""


if __name__ == "__main__":
    LimitedUpstream(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])).serve_forever()
