"""Descriptors in a Redis that our registry shares with Debian's, and that dies in the middle."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.caches import until
from tests.support.oci import Image, contents_of, digest_of, make_image
from tests.support.processes import RegistryServer
from tests.support.redis_server import RedisServer
from tests.support.registry_client import RegistryClient

pytestmark = pytest.mark.e2e


@pytest.fixture
def redis(tool) -> Iterator[RedisServer]:
    with RedisServer(tool("redis-server")) as server:
        yield server


def configuration(redis: RedisServer, **settings: str) -> dict[str, Any]:
    return {
        "storage": {"cache": {"blobdescriptor": "redis"}},
        "redis": {"addr": redis.address, "db": 1, **settings},
    }


IMPATIENT = {"dialtimeout": "100ms", "readtimeout": "100ms"}
PATIENT = {"operationtimeout": "30s"}
"""On a busy machine, a Redis that answers may need longer than it pays off."""


@pytest.fixture
def ours(redis: RedisServer, tmp_path: Path) -> Iterator[RegistryServer]:
    config = configuration(redis, **PATIENT)
    with RegistryServer(tmp_path / "ours", tmp_path / "storage", config=config) as server:
        yield server


@pytest.fixture
def reference(redis: RedisServer, tmp_path: Path) -> Iterator[RegistryServer]:
    """In the spelling of distribution 2, as ours."""
    with RegistryServer.reference(tmp_path / "reference", tmp_path / "storage", config=configuration(redis)) as server:
        yield server


def remove_link(server: RegistryServer, repository: str, digest: str) -> Path:
    link = server.storage / f"docker/registry/v2/repositories/{repository}/_layers/{digest.replace(':', '/')}/link"
    link.unlink()
    return link


def test_entries_of_the_reference_are_read(ours: RegistryServer, reference: RegistryServer) -> None:
    digest = RegistryClient(reference.host).push_blob("a/b", b"a layer")
    link = remove_link(ours, "a/b", digest)
    client = RegistryClient(ours.host)

    assert client.get_blob("a/b", digest) == b"a layer"
    # To a push that is no proof: it has to send the blob.
    client.request("HEAD", f"/v2/a/b/blobs/{digest}").expect(404)
    client.push_blob("a/b", b"a layer")
    assert link.exists()


def test_entries_of_ours_are_read_by_the_reference(ours: RegistryServer, reference: RegistryServer) -> None:
    digest = RegistryClient(ours.host).push_blob("a/b", b"a layer")
    remove_link(ours, "a/b", digest)
    client = RegistryClient(reference.host)

    assert client.get_blob("a/b", digest) == b"a layer"
    answer = client.request("HEAD", f"/v2/a/b/blobs/{digest}").expect(200)
    assert answer.header("Content-Length") == "7"


def test_our_deletions_reach_the_reference(ours: RegistryServer, reference: RegistryServer) -> None:
    client, other = RegistryClient(ours.host), RegistryClient(reference.host)
    digest = client.push_blob("a/b", b"a layer")
    other.request("HEAD", f"/v2/a/b/blobs/{digest}").expect(200)

    client.request("DELETE", f"/v2/a/b/blobs/{digest}").expect(202)

    other.request("HEAD", f"/v2/a/b/blobs/{digest}").expect(404)
    client.request("GET", f"/v2/a/b/blobs/{digest}").expect(404)


def test_deletions_of_the_reference_reach_ours(ours: RegistryServer, reference: RegistryServer) -> None:
    client, other = RegistryClient(ours.host), RegistryClient(reference.host)
    digest = other.push_blob("a/b", b"a layer")
    assert client.get_blob("a/b", digest) == b"a layer"

    other.request("DELETE", f"/v2/a/b/blobs/{digest}").expect(202)

    client.request("GET", f"/v2/a/b/blobs/{digest}").expect(404)


def test_blob_that_is_gone_is_no_error_and_comes_back(ours: RegistryServer, reference: RegistryServer) -> None:
    """A process that clears no cache, such as distribution's collector, removes the blob, and a client pushes it."""
    digest = RegistryClient(reference.host).push_blob("a/b", b"a layer")
    client = RegistryClient(ours.host)
    assert client.get_blob("a/b", digest) == b"a layer"
    hexes = digest.partition(":")[2]
    (ours.storage / f"docker/registry/v2/blobs/sha256/{hexes[:2]}/{hexes}/data").unlink()

    client.request("GET", f"/v2/a/b/blobs/{digest}").expect(404)
    client.request("HEAD", f"/v2/a/b/blobs/{digest}").expect(404)
    client.push_blob("a/b", b"a layer")
    assert client.get_blob("a/b", digest) == b"a layer"


class Puller(threading.Thread):
    """Pulls and pushes again and again, and keeps what went wrong."""

    def __init__(self, host: str, image: Image) -> None:
        super().__init__()
        self._client = RegistryClient(host)
        self._image = image
        self.ended = threading.Event()
        self.rounds = 0
        self.slowest = 0.0
        self.errors: list[Exception] = []

    def run(self) -> None:
        while not self.ended.is_set():
            began = time.monotonic()
            try:
                self._client.pull("a/b", "v1")
                self._client.push_blob(f"a/{self.rounds % 7}", f"blob {self.rounds}".encode())
            except Exception as error:  # noqa: BLE001 - the test reports every error
                self.errors.append(error)
            self.rounds += 1
            self.slowest = max(self.slowest, time.monotonic() - began)


def test_clients_do_not_notice_outages_of_redis(redis: RedisServer, tmp_path: Path) -> None:
    config = configuration(redis, **IMPATIENT)
    with RegistryServer(tmp_path / "ours", tmp_path / "storage", config=config) as ours:
        pull_during_outages(ours, redis)


def pull_during_outages(ours: RegistryServer, redis: RedisServer) -> None:
    image = make_image(5)
    client = RegistryClient(ours.host)
    client.push("a/b", "v1", image)
    puller = Puller(ours.host, image)
    puller.start()
    try:
        for change in (redis.kill, redis.start, redis.hang, redis.wake, redis.kill, redis.start):
            wait_for_rounds(puller, 5)
            change()
        with redis.client(db=1) as entries:
            # Each worker process finds out by itself that Redis is back, and the first one may have missed the outage.
            while not any(entries.scan_iter("repository::a/*::blobs")) or "redis available again" not in ours.log():
                wait_for_rounds(puller, 1)
    finally:
        puller.ended.set()
        puller.join(60)
    assert puller.errors == []
    assert puller.slowest < 30
    assert client.pull("a/b", "v1").keys() == {content.digest for content in contents_of(image)}
    assert "redis unavailable" in ours.log()
    assert "redis available again" in ours.log()


def wait_for_rounds(puller: Puller, count: int) -> None:
    wanted = puller.rounds + count
    until(lambda: puller.rounds >= wanted or puller.errors, every=0.05)


def test_registry_starts_without_its_redis(redis: RedisServer, tmp_path: Path) -> None:
    redis.kill()
    with RegistryServer(tmp_path / "ours", tmp_path / "storage", config=configuration(redis, **IMPATIENT)) as server:
        client = RegistryClient(server.host)
        digest = client.push_blob("a/b", b"a layer")
        assert digest == digest_of(b"a layer")
        assert client.get_blob("a/b", digest) == b"a layer"
