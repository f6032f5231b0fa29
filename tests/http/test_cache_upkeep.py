"""Upkeep of the cache beside requests: eviction within limits of space, and prefetching."""

import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from pytest_aiohttp import AiohttpServer

from adapters.metrics.prometheus import SingleProcessMetrics
from config.settings import (
    FilesystemSettings,
    GarbageCollectionSettings,
    ProxySettings,
    Settings,
    StorageKind,
    StorageSettings,
)
from core.model.sizes import Bytes
from core.ports.metrics import Metrics
from core.pull_through.eviction import EvictionReport
from core.pull_through.limits import CacheLimits, PrefetchRule
from entrypoints.jobs.background import Job
from entrypoints.jobs.caching import LOOK_SECONDS, eviction_job, prefetch_jobs
from entrypoints.observability.caching import eviction_observer, prefetch_observer
from tests.support.cache_application import ServedApplication, docker_io, served_application
from tests.support.growing_folders import sizes_of_files
from tests.support.metrics import Scrape
from tests.support.oci import Content, Image, digest_of, make_image
from tests.support.processes import RegistryServer
from tests.support.upstream_server import UpstreamServer

NAME = "library/alpine"
"""The repository at the upstream."""
LIMIT = 2_000_000
IMAGES = 40
LAYER_BYTES = 400_000
"""All images together are eight times the limit."""


@pytest.fixture
def metrics() -> Metrics:
    return SingleProcessMetrics()


@pytest.fixture
def upstream() -> Iterator[UpstreamServer]:
    with UpstreamServer() as server:
        yield server


class Cache:
    """A registry with the upstream below `docker.io`, and a client."""

    def __init__(self, served: ServedApplication, proxy: ProxySettings) -> None:
        self.application = served.application
        self.proxy = proxy
        self.reports: list[EvictionReport] = []
        self.seconds = 0.0
        self._session = served.session
        self._root = served.root

    async def get(self, path: str) -> tuple[int, bytes]:
        async with self._session.get(f"{self._root}/v2/docker.io/{NAME}/{path}") as response:
            return response.status, await response.read()

    async def pull(self, tag: str) -> None:
        """Pull an image, and check each digest."""
        status, content = await self.get(f"manifests/{tag}")
        assert status == 200
        manifest = json.loads(content)
        for blob in (manifest["config"], *manifest["layers"]):
            status, content = await self.get(f"blobs/{blob['digest']}")
            assert (status, digest_of(content)) == (200, blob["digest"])

    def job(self) -> Job:
        return eviction_job(self.application, self.proxy, observe=self.reports.append, clock=lambda: self.seconds)


Start = Callable[..., AbstractAsyncContextManager[Cache]]


@pytest.fixture
def start(upstream: UpstreamServer, tmp_path: Path, aiohttp_server: AiohttpServer) -> Start:
    @asynccontextmanager
    async def start_one(**options: Any) -> AsyncIterator[Cache]:
        proxy = ProxySettings(upstreams=(docker_io(upstream),), **options)
        storage = StorageSettings(
            kind=StorageKind.FILESYSTEM,
            filesystem=FilesystemSettings(root_directory=str(tmp_path)),
            garbage_collection=GarbageCollectionSettings(settle_seconds=1.0),
        )
        settings = Settings(storage=storage, proxy=proxy)
        async with served_application(settings, aiohttp_server) as served:
            yield Cache(served, proxy)

    return start_one


def size_of(folder: Path) -> int:
    """Return the size of all content in a folder: links, blobs, the trash and blobs in flight."""
    return sum(
        size
        for path, size in sizes_of_files(folder)
        if path.name.startswith("data") or "_trash/blobs" in path.as_posix()
    )


def image(number: int, base: Content) -> Image:
    """Return an image with a layer of its own, on a layer that all images share."""
    own = Content(base.media_type, os.urandom(LAYER_BYTES))
    config = Content("application/vnd.oci.image.config.v1+json", b'{"number":%d}' % number)
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config.descriptor(),
        "layers": [base.descriptor(), own.descriptor()],
    }
    content = Content("application/vnd.oci.image.manifest.v1+json", json.dumps(manifest).encode())
    return Image(content, (config, base, own), {"os": "linux", "architecture": "amd64"})


async def test_cache_stays_within_its_limit_and_every_pull_is_right(
    start: Start, upstream: UpstreamServer, tmp_path: Path
) -> None:
    base = Content("application/vnd.oci.image.layer.v1.tar+gzip", os.urandom(LAYER_BYTES))
    for number in range(IMAGES):
        upstream.content.add(NAME, image(number, base), f"v{number}")
    limits = CacheLimits(size_bytes=Bytes(LIMIT), keep=("docker.io/library/*:v0",))
    async with start(limits=limits) as cache:
        job = cache.job()
        for number in range(IMAGES):
            await cache.pull(f"v{number}")
            assert size_of(tmp_path) <= LIMIT * 1.1, number
            # The job starts early because content was refused, not because time passed.
            cache.seconds += 20
            if number % 5 == 4:
                await job.run()
        assert cache.seconds > LOOK_SECONDS
        assert len([report for report in cache.reports if report.images]) >= 3
        await job.run()
        status, _ = await cache.get(f"manifests/v{IMAGES - 1}")
        assert status == 200
        upstream.close()
        # The image that is kept has its layers still, also the one that it shared with evicted images.
        await cache.pull("v0")
    await assert_readable_by_distribution(tmp_path, base)


async def assert_readable_by_distribution(store: Path, base: Content) -> None:
    """Let Debian's docker-registry read the store."""
    headers = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    with RegistryServer.reference(store.parent / "peer", store) as peer:
        async with ClientSession(f"{peer.url}/v2/docker.io/{NAME}/", headers=headers, raise_for_status=True) as session:

            async def read(path: str) -> bytes:
                async with session.get(path) as response:
                    return await response.read()

            manifest = json.loads(await read("manifests/v0"))
            assert manifest["layers"][0]["digest"] == base.digest
            for blob in (manifest["config"], *manifest["layers"]):
                assert digest_of(await read(f"blobs/{blob['digest']}")) == blob["digest"]
            tags = json.loads(await read("tags/list"))["tags"]
            assert "v0" in tags
            for tag in tags:
                await read(f"manifests/{tag}")


async def test_client_that_holds_an_evicted_manifest_gets_its_blobs(start: Start, upstream: UpstreamServer) -> None:
    upstream.content.add(NAME, make_image(1), "v1")
    async with start(limits=CacheLimits(unused_seconds=1e-6)) as cache:
        _, content = await cache.get("manifests/v1")
        manifest = json.loads(content)
        layer = manifest["layers"][0]["digest"]
        await cache.get(f"blobs/{layer}")
        job = cache.job()
        cache.seconds += 2 * LOOK_SECONDS
        await job.run()
        [report] = cache.reports
        assert len(report.images) == 1
        before = upstream.count("blob GET")
        status, content = await cache.get(f"blobs/{layer}")
        assert (status, digest_of(content)) == (200, layer)
        assert upstream.count("blob GET") == before + 1


async def test_images_are_prefetched(start: Start, upstream: UpstreamServer, metrics: Metrics) -> None:
    upstream.content.add(NAME, make_image(1), "3.20")
    rule = PrefetchRule(image="docker.io/alpine", tags=("3.*",), every_seconds=600.0)
    async with start(prefetch=(rule,)) as cache:
        [job] = prefetch_jobs(cache.application, [rule], observe=prefetch_observer(metrics, now=lambda: 1e9))
        await job.run()
        await job.run()
        assert upstream.count("tags GET") == 1
        upstream.close()
        await cache.pull("3.20")
    scrape = Scrape(metrics.render("")[0].decode())
    name = "registry_proxy_prefetch_last_success_timestamp_seconds"
    assert scrape.total(name, image="docker.io/alpine") == 1e9


def test_evictions_are_measured(metrics: Metrics) -> None:
    report = EvictionReport(size=7, spared=0, bytes_removed=5)
    observe = eviction_observer(metrics)
    observe(report)
    observe(report)
    scrape = Scrape(metrics.render("")[0].decode())
    assert scrape.total("registry_proxy_cache_bytes") == 7
    assert scrape.total("registry_proxy_evicted_bytes_total") == 10
