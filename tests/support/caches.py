"""Pull-through caches for tests: servers with upstreams, and clients that read one blob each at the same time."""

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from typing_extensions import override

from tests.benchmarks.usage import memory_mib
from tests.support.processes import RegistryServer
from tests.support.upstream_server import UpstreamServer

WORKERS = 2
_WAIT_SECONDS = 60.0
_READ_BYTES = 256 * 1024
_MEMORY_SAMPLE_SECONDS = 0.02


class CacheServer(RegistryServer):
    """Our registry with two workers and a section `proxy`."""

    def __init__(
        self,
        folder: Path,
        storage: Path,
        *,
        proxy: Mapping[str, Any],
        config: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        whole = {"http": {"workers": WORKERS}, "proxy": proxy, **(config or {})}
        super().__init__(folder, storage, config=whole, environment=environment)


def upstream_section(upstream: UpstreamServer, prefix: str, **settings: Any) -> dict[str, Any]:
    """Return an entry of `proxy.upstreams`."""
    return {"prefix": prefix, "urls": [upstream.url], **settings}


class BlobClient(threading.Thread):
    """Client that reads one blob on a connection of its own, and compares each byte with what it must be."""

    def __init__(
        self, host: str, path: str, expected: bytes, *, first: int = 0, last: int | None = None, leaves_after: int = 0
    ) -> None:
        super().__init__(daemon=True)
        self.status = 0
        self.content_range: str | None = None
        self.cache_status: str | None = None
        self.received = 0
        """Right bytes so far."""
        self.is_wrong = False
        """Whether a byte was wrong."""
        self.is_complete = False
        """Whether the response claimed to be complete."""
        self._host = host
        self._path = path
        self._expected = memoryview(expected)[first : len(expected) if last is None else last + 1]
        self._headers = {} if last is None else {"Range": f"bytes={first}-{last}"}
        self._leaves_after = leaves_after
        self.start()

    @override
    def run(self) -> None:
        """Read until the end, or until so many bytes if the client leaves early."""
        connection = http.client.HTTPConnection(self._host, timeout=_WAIT_SECONDS)
        try:
            connection.request("GET", self._path, headers=self._headers)
            self._read(connection.getresponse())
        except (OSError, http.client.HTTPException):
            self.is_complete = False
        finally:
            connection.close()

    def _read(self, response: http.client.HTTPResponse) -> None:
        self.content_range = response.headers["Content-Range"]
        self.cache_status = response.headers["Cache-Status"]
        self.status = response.status
        length = int(response.headers["Content-Length"])
        buffer = memoryview(bytearray(_READ_BYTES))
        while count := response.readinto(buffer[: min(_READ_BYTES, self._leaves_after or _READ_BYTES)]):
            right = self._expected[self.received : self.received + count].tobytes()
            self.is_wrong |= buffer[:count].tobytes() != right
            self.received += count
            if 0 < self._leaves_after <= self.received:
                return
        self.is_complete = self.received == length

    @property
    def is_right(self) -> bool:
        """Whether the client received everything that it asked for, and nothing else."""
        return self.is_complete and not self.is_wrong and self.received == len(self._expected)


def until(condition: Callable[[], object], *, every: float = 0.01) -> None:
    """Wait until a condition holds; check it at this interval in seconds."""
    ends_at = time.monotonic() + _WAIT_SECONDS
    while not condition():
        if time.monotonic() > ends_at:
            raise TimeoutError("the condition did not become true")
        time.sleep(every)


def finish(clients: Iterable[BlobClient]) -> None:
    """Wait for the end of all clients."""
    for client in clients:
        client.join(_WAIT_SECONDS)


class MemoryGrowth:
    """The growth of the memory of a server and its workers (PSS) in a block."""

    def __init__(self, server: RegistryServer) -> None:
        self._group = server.pid
        self._most = self._before = memory_mib(self._group)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    @property
    def mib(self) -> float:
        """The largest growth so far."""
        return self._most - self._before

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._is_over.wait(_MEMORY_SAMPLE_SECONDS):
            self._most = max(self._most, memory_mib(self._group))


def children_of(process: int) -> list[int]:
    """Return the ids of the child processes of a process."""
    return [int(text) for text in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def is_connected(process: int, port: int) -> bool:
    """Whether a process has an open TCP connection to this port of 127.0.0.1."""
    target = f"{int.from_bytes(socket.inet_aton('127.0.0.1'), 'little'):08X}:{port:04X}"
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    wanted = {f"socket:[{row[9]}]" for row in rows if row[2] == target and row[3] == "01"}
    folder = Path(f"/proc/{process}/fd")
    return any(_link(each) in wanted for each in folder.iterdir())


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except FileNotFoundError:
        return ""
