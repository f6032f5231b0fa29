"""Cold blobs through a cache with two workers: one fetch, many clients, and never a wrong byte."""

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.model.digest import Digest
from core.model.names import RepositoryName
from core.store import layout
from tests.support.caches import (
    WORKERS,
    BlobClient,
    CacheServer,
    MemoryGrowth,
    children_of,
    finish,
    is_connected,
    until,
    upstream_section,
)
from tests.support.metrics import Scrape
from tests.support.ports import free_port
from tests.support.registry_client import RegistryClient
from tests.support.upstream_server import UpstreamServer

pytestmark = pytest.mark.e2e

MIB = 1024 * 1024
HELD_BYTES = MIB


@pytest.fixture(scope="module")
def content() -> bytes:
    """Bytes from which each test cuts its blob."""
    return random.Random(64).randbytes(64 * MIB)


@pytest.fixture(scope="module")
def running_upstream() -> Iterator[UpstreamServer]:
    with UpstreamServer() as server:
        yield server


@pytest.fixture
def upstream(running_upstream: UpstreamServer) -> UpstreamServer:
    running_upstream.faults.recover()
    running_upstream.forget()
    return running_upstream


@pytest.fixture(scope="module")
def metrics_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def cache(
    running_upstream: UpstreamServer, metrics_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CacheServer]:
    folder = tmp_path_factory.mktemp("cache")
    proxy = {"upstreams": [upstream_section(running_upstream, "up.test")]}
    debug = {"addr": f"127.0.0.1:{metrics_port}", "prometheus": {"enabled": True}}
    config = {"http": {"workers": WORKERS, "debug": debug}}
    with CacheServer(folder / "server", folder / "storage", proxy=proxy, config=config) as server:
        until(lambda: len(children_of(server.pid)) == WORKERS)
        yield server


@pytest.fixture
def path(request: pytest.FixtureRequest, content: bytes, upstream: UpstreamServer) -> str:
    """The path of a blob of 8 MiB that only the upstream has."""
    return add_blob(upstream, request.node.name, content[: 8 * MIB])


def add_blob(upstream: UpstreamServer, name: str, content: bytes) -> str:
    """Add a blob to a repository of its own at the upstream, and return its path at the cache."""
    name = name.replace("_", "-")
    # Each blob differs, or it would be in the cache from another test.
    return f"/v2/up.test/{name}/blobs/{upstream.content.add_blob(name, content + name.encode())}"


def blob_of(upstream: UpstreamServer, path: str) -> bytes:
    name, _, digest = path.removeprefix("/v2/up.test/").partition("/blobs/")
    return upstream.content.repositories[name].blobs[digest]


def read(cache: CacheServer, upstream: UpstreamServer, path: str) -> BlobClient:
    """Read a blob of the upstream through the cache."""
    client = BlobClient(cache.host, path, blob_of(upstream, path))
    client.join()
    return client


def test_fifty_clients_cost_one_fetch(cache: CacheServer, upstream: UpstreamServer, content: bytes) -> None:
    warm = add_blob(upstream, "warm", content[:MIB])
    for _ in range(8):
        assert read(cache, upstream, warm).is_right
    upstream.forget()
    path = add_blob(upstream, "herd", content)
    upstream.faults.hold_blobs(HELD_BYTES)
    with MemoryGrowth(cache) as growth:
        clients = [BlobClient(cache.host, path, blob_of(upstream, path)) for _ in range(50)]
        # Every client has bytes while the upstream has not sent the rest.
        until(lambda: all(client.received for client in clients))
        assert upstream.bytes_sent == HELD_BYTES
        upstream.faults.release()
        finish(clients)

    assert [client.is_right for client in clients] == [True] * 50
    assert upstream.count("blob GET") == 1
    assert upstream.count("blob HEAD") <= 1
    assert growth.mib < 32


def test_ranges_of_a_cold_blob_share_one_fetch(cache: CacheServer, upstream: UpstreamServer, path: str) -> None:
    blob = blob_of(upstream, path)
    quarter = len(blob) // 4
    upstream.faults.hold_blobs(HELD_BYTES)

    ranges = [(number * quarter, (number + 1) * quarter - 1) for number in range(4)]
    clients = [BlobClient(cache.host, path, blob, first=first, last=last) for first, last in ranges]
    until(lambda: clients[0].received)
    upstream.faults.release()
    finish(clients)

    assert [client.is_right for client in clients] == [True] * 4
    assert [client.status for client in clients] == [206] * 4
    assert [client.content_range for client in clients] == [
        f"bytes {first}-{last}/{len(blob)}" for first, last in ranges
    ]
    assert upstream.count("blob GET") == 1


def test_fetch_goes_on_when_its_first_client_leaves(cache: CacheServer, upstream: UpstreamServer, path: str) -> None:
    upstream.faults.hold_blobs(HELD_BYTES)
    first = BlobClient(cache.host, path, blob_of(upstream, path), leaves_after=100_000)
    first.join()
    others = [BlobClient(cache.host, path, blob_of(upstream, path)) for _ in range(4)]
    until(lambda: all(client.received for client in others))
    upstream.faults.release()
    finish(others)

    assert [client.is_right for client in others] == [True] * 4
    assert upstream.count("blob GET") == 1


def test_fetch_without_any_client_is_finished(cache: CacheServer, upstream: UpstreamServer, path: str) -> None:
    upstream.faults.hold_blobs(HELD_BYTES)
    BlobClient(cache.host, path, blob_of(upstream, path), leaves_after=100_000).join()
    upstream.faults.release()
    # The link comes last. A client that finds the content without it asks the upstream for a byte.
    name, digest = path.removeprefix("/v2/").split("/blobs/")
    link = cache.storage / layout.layer_link(RepositoryName(name), Digest(digest)).lstrip("/")
    until(link.exists)

    assert read(cache, upstream, path).is_right
    assert upstream.count("blob GET") == 1


def test_fetch_that_is_cut_is_resumed(cache: CacheServer, upstream: UpstreamServer, path: str) -> None:
    half = len(blob_of(upstream, path)) // 2
    upstream.faults.cut_blobs(half)

    assert read(cache, upstream, path).is_right
    first, second = (seen.headers.get("Range") for seen in upstream.requests("blob GET"))
    assert first is None
    # The end of the cut connection may be lost on the way.
    assert second is not None
    assert half - MIB <= int(second.removeprefix("bytes=").removesuffix("-")) <= half


def test_upstream_that_always_cuts_gives_a_short_body(cache: CacheServer, upstream: UpstreamServer, path: str) -> None:
    upstream.faults.cut_blobs(MIB, times=1)
    upstream.faults.cut_blobs(0, times=50)

    client = read(cache, upstream, path)
    assert not client.is_complete
    assert not client.is_wrong

    upstream.faults.recover()
    assert read(cache, upstream, path).is_right


def test_wrong_bytes_are_never_served_whole(
    cache: CacheServer, upstream: UpstreamServer, path: str, metrics_port: int
) -> None:
    right = blob_of(upstream, path)
    name, _, digest = path.removeprefix("/v2/up.test/").partition("/blobs/")
    upstream.content.replace_blob(name, digest, right[:-1] + b"?")

    clients = [BlobClient(cache.host, path, right) for _ in range(4)]
    finish(clients)
    assert not any(client.is_complete for client in clients)
    assert not any(client.is_wrong for client in clients)
    assert stored_blob(cache.storage, digest) is None
    metrics = f"http://127.0.0.1:{metrics_port}/metrics"
    until(lambda: Scrape.of(metrics).total("registry_proxy_wrong_digests_total", upstream="up.test"), every=0.2)

    upstream.content.replace_blob(name, digest, right)
    assert read(cache, upstream, path).is_right


def test_killed_worker_leaves_no_torn_blob(cache: CacheServer, upstream: UpstreamServer, path: str) -> None:
    right = blob_of(upstream, path)
    # Only the worker that fetches the blob is connected then.
    upstream.close()
    upstream.open()
    upstream.faults.hold_blobs(HELD_BYTES)
    clients = [BlobClient(cache.host, path, right) for _ in range(8)]
    until(lambda: all(client.received for client in clients))
    workers = children_of(cache.pid)
    [filling] = [worker for worker in workers if is_connected(worker, upstream.port)]

    os.kill(filling, signal.SIGKILL)
    upstream.faults.release()
    finish(clients)
    until(lambda: len(children_of(cache.pid)) == WORKERS and filling not in children_of(cache.pid))

    # The clients of the other worker are served; those of the killed one see a short body.
    assert not any(client.is_wrong for client in clients)
    assert all(client.is_right or not client.is_complete for client in clients)
    assert read(cache, upstream, path).is_right
    assert stored_blob(cache.storage, path.rpartition("/")[2]) == right


def test_killed_server_leaves_no_torn_blob(upstream: UpstreamServer, path: str, tmp_path: Path) -> None:
    right = blob_of(upstream, path)
    proxy = {"upstreams": [upstream_section(upstream, "up.test")]}
    with CacheServer(tmp_path / "server", tmp_path / "storage", proxy=proxy) as cache:
        upstream.faults.hold_blobs(HELD_BYTES)
        client = BlobClient(cache.host, path, right)
        until(lambda: client.received)
        cache.kill()
        upstream.faults.release()
        client.join()
        assert not client.is_wrong
        assert not client.is_complete

        cache.start()
        assert stored_blob(cache.storage, path.rpartition("/")[2]) is None
        assert read(cache, upstream, path).is_right


def test_blob_of_another_repository_is_not_served(cache: CacheServer, upstream: UpstreamServer, path: str) -> None:
    assert read(cache, upstream, path).is_right
    digest = path.rpartition("/")[2]

    RegistryClient(cache.host).request("GET", f"/v2/up.test/other/blobs/{digest}").expect(404)


def stored_blob(storage: Path, digest: str) -> bytes | None:
    """Return the content of a blob in the store."""
    encoded = digest.removeprefix("sha256:")
    file = storage / f"docker/registry/v2/blobs/sha256/{encoded[:2]}/{encoded}/data"
    return file.read_bytes() if file.exists() else None
