"""Acknowledged content survives SIGKILL, cut connections, restarts and shutdown during uploads."""

import random
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.caches import until
from tests.support.oci import Image, contents_of, digest_of, make_image
from tests.support.processes import RegistryServer
from tests.support.registry_client import Answer, RegistryClient

pytestmark = pytest.mark.e2e

KILL_ROUNDS = 5
PUSHERS = 4


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    folder = tmp_path_factory.mktemp("durability")
    with RegistryServer(folder / "server", folder / "storage") as running:
        yield running


@pytest.fixture
def server(shared_server: RegistryServer) -> RegistryServer:
    """A running registry; tests may end it, and each uses repositories of its own."""
    if not shared_server.answers():
        shared_server.start()
    return shared_server


@pytest.fixture
def registry(server: RegistryServer) -> RegistryClient:
    return RegistryClient(server.host)


class Pusher:
    """Pushes one image after the other, and remembers exactly the acknowledged pushes."""

    def __init__(self, registry: RegistryClient, repository: str, seed: int) -> None:
        self.repository = repository
        self.blobs: set[str] = set()
        self.tags: dict[str, str] = {}
        self._registry = registry
        self._seed = seed

    def push_until_killed(self) -> None:
        while True:
            self._seed += 1
            try:
                self._push(make_image(self._seed, layer_sizes=(200, 100_000)), f"v{self._seed}")
            except (OSError, HTTPException):
                return

    def _push(self, image: Image, tag: str) -> None:
        for blob in image.blobs:
            self.blobs.add(self._registry.push_blob(self.repository, blob.data))
        self._registry.push_manifest(self.repository, tag, image.manifest)
        self.tags[tag] = image.digest
        # A tag that moves all the time: its link is replaced in place, where a torn write would show.
        self._registry.push_manifest(self.repository, "latest", image.manifest)


def test_sigkill_loses_nothing_acknowledged(server: RegistryServer, registry: RegistryClient) -> None:
    seed = 20_261_124
    delays = random.Random(seed)
    pushers = [Pusher(registry, f"killed/pusher-{number}", 1_000_000 * number) for number in range(PUSHERS)]
    for _ in range(KILL_ROUNDS):
        with ThreadPoolExecutor(PUSHERS) as pool:
            before = [len(pusher.tags) for pusher in pushers]
            done = [pool.submit(pusher.push_until_killed) for pusher in pushers]
            try:
                until(partial(have_pushed, pushers, before))
                time.sleep(delays.uniform(0, 0.5))
            finally:
                server.kill()
        for future in done:
            future.result()
        server.start()

        for pusher in pushers:
            for digest in pusher.blobs:
                registry.get_blob(pusher.repository, digest)
            for tag, digest in pusher.tags.items():
                assert registry.get_manifest(pusher.repository, tag).digest == digest
    assert_every_listed_tag_pulls(registry)


def have_pushed(pushers: list[Pusher], before: list[int]) -> bool:
    """Whether every pusher completed an image since it had so many."""
    return all(len(pusher.tags) > count for pusher, count in zip(pushers, before, strict=True))


def assert_every_listed_tag_pulls(registry: RegistryClient) -> None:
    repositories = registry.catalog()
    assert repositories
    for repository in repositories:
        for tag in registry.tags(repository):
            registry.pull(repository, tag)


@pytest.mark.parametrize("encoding", ["length", "chunked"])
def test_cut_connection_keeps_what_arrived(server: RegistryServer, registry: RegistryClient, encoding: str) -> None:
    blob = random.Random(7).randbytes(1_000_000)
    location = registry.start_upload("cut/upload").header("Location")

    with begin_patch(server, location, blob[:300_000], encoding=encoding, announced=len(blob)):
        pass

    status = wait_for_offset(registry, location, 300_000)
    rest = registry.append(status.header("Location"), blob[300_000:]).expect(202)
    assert rest.header("Range") == "0-999999"
    registry.finish_upload(rest.header("Location"), digest_of(blob)).expect(201)
    assert registry.get_blob("cut/upload", digest_of(blob)) == blob


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_upload_continues_after_a_restart(server: RegistryServer, registry: RegistryClient, end: str) -> None:
    blob = random.Random(8).randbytes(500_000)
    location = registry.start_upload("restart/upload").header("Location")
    location = registry.append(location, blob[:200_000]).expect(202).header("Location")

    getattr(server, end)()
    server.start()

    status = registry.request("GET", location).expect(204)
    assert status.header("Range") == "0-199999"
    location = registry.append(status.header("Location"), blob[200_000:400_000]).expect(202).header("Location")
    registry.finish_upload(location, digest_of(blob), blob[400_000:]).expect(201)
    assert registry.get_blob("restart/upload", digest_of(blob)) == blob


def test_upload_continues_after_sigkill_in_a_chunk(server: RegistryServer, registry: RegistryClient) -> None:
    blob = random.Random(9).randbytes(600_000)
    location = registry.start_upload("killed/upload").header("Location")
    location = registry.append(location, blob[:100_000]).expect(202).header("Location")

    with begin_patch(server, location, blob[100_000:300_000], encoding="length", announced=500_000) as sent:
        until(partial(is_read, sent))
        server.kill()
    server.start()

    status = registry.request("GET", location).expect(204)
    offset = offset_of(status)
    assert 100_000 <= offset <= 300_000
    registry.finish_upload(status.header("Location"), digest_of(blob), blob[offset:]).expect(201)
    assert registry.get_blob("killed/upload", digest_of(blob)) == blob


def test_sigterm_lets_an_upload_finish(server: RegistryServer, registry: RegistryClient) -> None:
    pieces = [random.Random(number).randbytes(10_000) for number in range(20)]
    blob = b"".join(pieces)
    location = registry.start_upload("drain/upload").header("Location")
    begun = threading.Event()

    def slow_body() -> Iterator[bytes]:
        for number, piece in enumerate(pieces):
            if number == 5:
                begun.set()
            time.sleep(0.1)
            yield piece

    with ThreadPoolExecutor(1) as pool:
        upload = pool.submit(registry.finish_upload, location, digest_of(blob), slow_body())
        assert begun.wait(10)
        server.terminate()
        upload.result(60).expect(201)
    assert server.wait() == 0
    server.start()
    assert registry.get_blob("drain/upload", digest_of(blob)) == blob


def test_sigterm_does_not_wait_beyond_the_drain_timeout(tmp_path: Path) -> None:
    config: dict[str, Any] = {"http": {"draintimeout": "1s"}}
    with RegistryServer(tmp_path / "server", tmp_path / "storage", config=config) as server:
        registry = RegistryClient(server.host)
        location = registry.start_upload("stuck/upload").header("Location")
        with begin_patch(server, location, b"x" * 1_000, encoding="length", announced=2_000) as sent:
            until(partial(is_read, sent))
            began = time.monotonic()
            server.stop()
            # The default is 20 seconds.
            assert 0.5 < time.monotonic() - began < 15
        server.start()
        wait_for_offset(registry, location, 1_000)


def test_idle_server_ends_at_once_on_sigterm(server: RegistryServer, registry: RegistryClient) -> None:
    registry.request("GET", "/v2/").expect(200)
    began = time.monotonic()
    assert server.stop() == 0
    # Much less than the time that requests may take to finish.
    assert time.monotonic() - began < 15


def test_same_content_pushed_by_many_at_once_succeeds(registry: RegistryClient) -> None:
    image = make_image(10, layer_sizes=(400_000,))

    def push(number: int) -> None:
        repository = f"together/{number % 2}"
        for blob in image.blobs:
            location = registry.start_upload(repository).header("Location")
            registry.finish_upload(location, blob.digest, blob.data).expect(201)
        registry.push_manifest(repository, "v1", image.manifest)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(push, range(32)))
    for repository in ("together/0", "together/1"):
        assert registry.pull(repository, "v1").keys() == {content.digest for content in contents_of(image)}


def begin_patch(server: RegistryServer, location: str, data: bytes, *, encoding: str, announced: int) -> socket.socket:
    """Open a PATCH that announces more than `data`, send `data`, and return the open connection."""
    parts = urlsplit(location)
    if encoding == "chunked":
        framing, body = "Transfer-Encoding: chunked", f"{len(data):x}\r\n".encode() + data + b"\r\n"
    else:
        framing, body = f"Content-Length: {announced}", data
    head = (
        f"PATCH {parts.path}?{parts.query} HTTP/1.1\r\nHost: {server.host}\r\n"
        f"Content-Type: application/octet-stream\r\n{framing}\r\n\r\n"
    )
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    connection.sendall(head.encode() + body)
    return connection


def is_read(connection: socket.socket) -> bool:
    """Whether the server has read all that was sent on a connection."""
    ports = [f":{end[1]:04X}" for end in (connection.getpeername(), connection.getsockname())]
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    [waiting] = [row[4] for row in rows if row[1].endswith(ports[0]) and row[2].endswith(ports[1])]
    return waiting.endswith(":00000000")


def offset_of(status: Answer) -> int:
    """The number of bytes an upload holds, from its status; `0-0` stands for none and for one."""
    return int(status.header("Range").partition("-")[2]) + 1


def wait_for_offset(registry: RegistryClient, location: str, expected: int) -> Answer:
    """Ask for the status until the upload holds `expected` bytes: a cut is seen a little later."""
    deadline = time.monotonic() + 60
    status = registry.request("GET", location).expect(204)
    while offset_of(status) != expected:
        assert time.monotonic() < deadline, f"the upload holds {offset_of(status)} bytes instead of {expected}"
        time.sleep(0.05)
        status = registry.request("GET", location).expect(204)
    return status
