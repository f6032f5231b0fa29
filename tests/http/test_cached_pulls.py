"""Pulls from cached repositories: `Cache-Status`, failures of the upstream, and metrics."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientError

from adapters.metrics.prometheus import SingleProcessMetrics
from adapters.metrics.upstreams import UpstreamCounts
from adapters.upstream.instrumented import InstrumentedUpstream
from adapters.upstream.memory import InMemoryUpstream
from core.errors import UpstreamBusyError, UpstreamTimeoutError, UpstreamUnavailableError
from core.model.digest import Digest
from entrypoints.http.middleware.cache_metering import CacheMeter
from entrypoints.http.observation import Observation
from tests.http.conftest import error_codes
from tests.support.cached_services import REMOTE, CachedServices, add_image
from tests.support.metrics import Scrape
from tests.support.pull_through import Machine
from tests.support.simulated_time import SimulatedTime
from tests.support.streams import payload

DOWN = UpstreamUnavailableError("docker.io cannot be reached")
LATE = UpstreamTimeoutError("docker.io does not answer")
BUSY = UpstreamBusyError("docker.io asks to wait", retry_after=60)
LAYER = payload(1_000_000)
BLOB = f"/v2/alpine/blobs/{Digest.of(LAYER)}?ns=docker.io"
TAG = "/v2/alpine/manifests/3.20?ns=docker.io"


@pytest.fixture
def metrics() -> SingleProcessMetrics:
    return SingleProcessMetrics()


@pytest.fixture
def time() -> SimulatedTime:
    return SimulatedTime()


@pytest.fixture
def upstream() -> InMemoryUpstream:
    return InMemoryUpstream("docker.io")


@pytest.fixture
async def services(
    time: SimulatedTime, upstream: InMemoryUpstream, metrics: SingleProcessMetrics
) -> AsyncIterator[CachedServices]:
    counted: Any = InstrumentedUpstream(upstream, observer=UpstreamCounts(metrics, upstream.name), clock=time.clock)
    services = CachedServices(time, counted)
    async with Machine(hub=counted, services=services, time=time).process() as process:
        services.blobs = process.blobs
        yield services
        await services.manifests.close()


@pytest.fixture
async def cache(start, services, metrics):
    meter = CacheMeter(metrics, services.origins)
    return await start(origins=services.origins, observation=Observation(middlewares=[meter.count]))


@pytest.fixture
def read(metrics):
    return lambda name, **labels: Scrape(metrics.render("")[0].decode()).total(f"registry_proxy_{name}", **labels)


async def status_of(api: Any, path: str, **options: Any) -> str | None:
    async with api.request(options.pop("method", "GET"), path, **options) as response:
        assert response.status in {200, 206, 304}, await response.text()
        status: str | None = response.headers.get("Cache-Status")
        await response.read()
        return status


async def test_status_of_a_tag_follows_its_freshness(cache, upstream, time):
    content = add_image(upstream, "3.20")
    assert await status_of(cache, TAG) == "registry; fwd=uri-miss; ttl=60; fwd-status=200; stored"
    time.pass_seconds(18)
    for method in ("GET", "HEAD"):
        assert await status_of(cache, TAG, method=method) == "registry; hit; ttl=42"
    etag = {"If-None-Match": f'"{Digest.of(content)}"'}
    assert await status_of(cache, TAG, headers=etag) == "registry; hit; ttl=42"
    time.pass_seconds(60)
    assert await status_of(cache, TAG) == "registry; fwd=stale; ttl=60; fwd-status=304"
    upstream.failure = DOWN
    time.pass_seconds(90)
    assert await status_of(cache, TAG) == "registry; hit; ttl=-30; detail=upstream-unavailable"
    assert await status_of(cache, f"/v2/docker.io/alpine/manifests/{Digest.of(content)}") == "registry; hit"


async def test_stale_tag_names_the_rate_limit(cache, upstream, time):
    add_image(upstream, "3.20")
    await status_of(cache, TAG)
    upstream.failure = BUSY
    time.pass_seconds(61)
    assert await status_of(cache, TAG) == "registry; hit; ttl=-1; detail=upstream-429"


async def test_status_of_a_blob_shows_where_it_came_from(cache, upstream):
    add_image(upstream, "3.20", layer=LAYER)
    assert await status_of(cache, BLOB) == "registry; fwd=uri-miss; stored"
    assert await status_of(cache, BLOB) == "registry; hit"
    for ranges in ("bytes=0-9", "bytes=0-9,500-509"):
        assert await status_of(cache, BLOB, headers={"Range": ranges}) == "registry; hit"
    assert await status_of(cache, BLOB, headers={"If-None-Match": "*"}) == "registry; hit"


async def test_local_repository_has_no_status(cache):
    digest = await cache.push_blob("team/app", b"x")
    assert await status_of(cache, f"/v2/team/app/blobs/{digest}") is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (DOWN, (502, "UNAVAILABLE", None)),
        (LATE, (504, "UNAVAILABLE", None)),
        (BUSY, (429, "TOOMANYREQUESTS", "60")),
    ],
)
async def test_content_that_cannot_be_fetched_is_no_404(cache, upstream, caplog, error, expected):
    upstream.failure = error
    digest = f"/v2/alpine/manifests/{Digest.of(b'x')}?ns=docker.io"
    for path in (TAG, BLOB, digest, TAG, BLOB, digest):
        async with cache.request("GET", path) as response:
            [entry] = (await response.json())["errors"]
            assert (response.status, entry["code"], response.headers.get("Retry-After")) == expected
            assert "docker.io" in entry["message"]
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.name for record in warnings] == ["adapters.upstream.instrumented"]


@pytest.mark.parametrize("path", [TAG, BLOB])
async def test_content_that_the_upstream_lacks_is_404(cache, path):
    async with cache.request("GET", path) as response:
        assert response.status == 404
        assert await error_codes(response) in (["MANIFEST_UNKNOWN"], ["BLOB_UNKNOWN"])


async def test_blob_that_does_not_match_ends_short(cache, upstream, caplog):
    add_image(upstream, "3.20", layer=LAYER)
    upstream.replace_blob(REMOTE, Digest.of(LAYER), LAYER[::-1])
    async with cache.request("GET", BLOB) as response:
        assert (response.status, response.content_length) == (200, len(LAYER))
        with pytest.raises(ClientError):
            await response.read()
    assert "Traceback" not in caplog.text


async def test_pulls_are_counted_by_outcome(cache, upstream, time, read):
    manifest = add_image(upstream, "3.20", layer=LAYER)
    for path in (TAG, TAG, BLOB, BLOB):
        await status_of(cache, path)
    time.pass_seconds(61)
    await status_of(cache, TAG)
    upstream.failure = DOWN
    time.pass_seconds(61)
    await status_of(cache, TAG)
    async with cache.request("GET", "/v2/other/manifests/v1?ns=docker.io") as response:
        assert response.status == 502
    upstream.failure = None
    time.pass_seconds(61)
    async with cache.request("GET", "/v2/other/manifests/v1?ns=docker.io") as response:
        assert response.status == 404
    for outcome, count in (("hit", 1), ("miss", 1), ("revalidated", 1), ("stale", 1), ("failed", 1), ("absent", 1)):
        assert read("answers_total", upstream="docker.io", type="manifest", outcome=outcome) == count, outcome
    assert read("answers_total", upstream="docker.io", type="blob") == 2
    assert (read("requests_total", type="manifest"), read("requests_total", type="blob")) == (6, 2)
    assert (read("hits_total", type="manifest"), read("misses_total", type="manifest")) == (3, 1)
    assert (read("hits_total", type="blob"), read("misses_total", type="blob")) == (1, 1)
    assert read("pushed_bytes_total", type="blob") == 2 * len(LAYER)
    assert read("saved_bytes_total", upstream="docker.io") == 3 * len(manifest) + len(LAYER)
    assert read("pulled_bytes_total", type="blob") == len(LAYER)
    assert read("fetched_bytes_total", upstream="docker.io") == len(manifest) + len(LAYER)
    assert read("upstream_requests_total", operation="open_blob", **{"class": "ok"}) == 1


async def test_other_requests_are_not_counted(cache, read):
    digest = await cache.push_blob("team/app", b"x")
    for path in ("/v2/", f"/v2/team/app/blobs/{digest}", "/v2/team/app/blobs/sha256:x", "/v2/docker.io/a/tags/list"):
        async with cache.request("GET", path):
            pass
    async with cache.request("PUT", "/v2/docker.io/alpine/manifests/v1") as response:
        assert response.status == 405
    assert read("answers_total") == 0
