"""Fetching of images before a client asks for them, and prefetching by rules."""

import json
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from core.errors import ManifestUnknownError, StorageUnavailableError, UpstreamUnavailableError
from core.model import media_types
from core.model.digest import Digest
from core.model.names import Tag
from core.pull_through import prefetching
from core.pull_through.admission import Admission
from core.pull_through.limits import PrefetchRule
from core.pull_through.prefetching import Prefetcher, PrefetchReport
from core.pull_through.warming import Warmer
from core.store import layout
from core.typing import override
from tests.support.cached_services import NAME, REMOTE, CachedServices
from tests.support.content import descriptor, image_manifest
from tests.support.pull_through import Machine


class Warming:
    """A warmer and a prefetcher on an upstream and a store in memory."""

    def __init__(self, cache: CachedServices, warmer: Warmer, used: list[Digest], machine: Machine) -> None:
        self.cache = cache
        self.upstream = cache.upstream
        self.warmer = warmer
        self.used = used
        self.machine = machine
        self.succeeded: list[str] = []
        self.prefetcher = Prefetcher(cache.origins, warmer, observe=self.succeeded.append)

    def add_image(self, *tags: str, config: bytes = b"{}", layers: Sequence[bytes] = (b"layer",)) -> bytes:
        for blob in (config, *layers):
            self.upstream.add_blob(REMOTE, blob)
        manifest = image_manifest(config, layers)
        self.upstream.add_manifest(REMOTE, manifest, media_types.OCI_MANIFEST, *tags)
        return manifest

    def add_index(self, document: dict[str, Any], *tags: str) -> Digest:
        return self.upstream.add_manifest(REMOTE, json.dumps(document).encode(), media_types.OCI_INDEX, *tags)

    async def prefetch(self, *, goes_on: bool = True, image: str = "docker.io/alpine", **rule: Any) -> PrefetchReport:
        return await self.prefetcher.run(PrefetchRule(image=image, **rule), goes_on=lambda: goes_on)

    async def blobs(self) -> set[str]:
        return {key.split("/")[-2] for key in await self.cache.keys(layout.layers(NAME))}


@pytest.fixture
async def warming(cache: CachedServices) -> AsyncIterator[Warming]:
    used: list[Digest] = []
    machine = Machine(services=cache, hub=cache.upstream, time=cache.time)
    async with machine.process() as process:
        warmer = Warmer(
            cache.storage, cache.manifests, process.blobs, note_use=lambda _name, digest: used.append(digest)
        )
        yield Warming(cache, warmer, used, machine)


def encoded(*contents: bytes) -> set[str]:
    return {Digest.of(each).encoded for each in contents}


async def test_image_is_fetched_once(warming: Warming) -> None:
    manifest = warming.add_image("latest", layers=[b"one", b"two", b"one"])
    report = await warming.warmer.warm(NAME, Tag("latest"))
    assert (report.digest, report.manifests) == (Digest.of(manifest), 1)
    assert (report.blobs, report.fetched, report.bytes_fetched, report.not_stored) == (3, 3, len(b"{}onetwo"), 0)
    assert warming.used == [Digest.of(manifest)]
    report = await warming.warmer.warm(NAME, Tag("latest"))
    assert (report.blobs, report.fetched) == (3, 0)
    assert warming.upstream.asked["open_blob"] == 3
    assert await warming.blobs() == encoded(b"{}", b"one", b"two")


async def test_only_the_wanted_platforms_are_fetched(warming: Warming) -> None:
    platforms = {
        b"amd64": {"os": "linux", "architecture": "amd64"},
        b"v6": {"os": "linux", "architecture": "arm", "variant": "v6"},
        b"v7": {"os": "linux", "architecture": "arm", "variant": "v7"},
        b"attestation": {"os": "unknown", "architecture": "unknown"},
        b"any": None,
    }
    entries = []
    for config, platform in platforms.items():
        entry = descriptor(warming.add_image(config=config, layers=[]), media_types.OCI_MANIFEST)
        entries.append(entry | ({"platform": platform} if platform else {}))
    index = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": [*entries, entries[0]]}
    warming.add_index(index, "multi")
    report = await warming.warmer.warm(NAME, Tag("multi"), platforms=["linux/amd64", "linux/arm/v7"])
    assert report.manifests == 4
    assert await warming.blobs() == encoded(b"amd64", b"v7", b"any")
    await warming.warmer.warm(NAME, Tag("multi"), platforms=["linux/arm"])
    assert await warming.blobs() == encoded(b"amd64", b"v6", b"v7", b"any")
    await warming.warmer.warm(NAME, Tag("multi"))
    assert await warming.blobs() == encoded(*platforms)


async def test_layers_elsewhere_are_not_fetched(warming: Warming) -> None:
    warming.upstream.add_blob(REMOTE, b"{}")
    document = json.loads(image_manifest(b"{}", [b"windows"]))
    document["layers"][0]["urls"] = ["https://example.com/layer"]
    warming.upstream.add_manifest(REMOTE, json.dumps(document).encode(), media_types.OCI_MANIFEST, "windows")
    assert (await warming.warmer.warm(NAME, Tag("windows"))).blobs == 1


async def test_layers_of_schema_1_are_fetched(warming: Warming) -> None:
    layer = warming.upstream.add_blob(REMOTE, b"old layer")
    content = json.dumps({"schemaVersion": 1, "fsLayers": [{"blobSum": layer}, {"blobSum": layer}]}).encode()
    warming.upstream.add_manifest(REMOTE, content, media_types.DOCKER_SCHEMA1, "old")
    assert (await warming.warmer.warm(NAME, Tag("old"))).fetched == 1


async def test_blobs_without_room_are_reported(cache: CachedServices) -> None:
    class Full(Admission):
        @override
        async def make_room(self, size: int) -> bool:
            return False

    machine = Machine(services=cache, hub=cache.upstream, time=cache.time, admission=Full())
    async with machine.process() as process:
        warmer = Warmer(cache.storage, cache.manifests, process.blobs, note_use=lambda _name, _digest: None)
        Warming(cache, warmer, [], machine).add_image("latest")
        report = await warmer.warm(NAME, Tag("latest"))
    assert (report.fetched, report.not_stored) == (2, 2)


async def test_failures_are_raised(warming: Warming) -> None:
    with pytest.raises(ManifestUnknownError):
        await warming.warmer.warm(NAME, Tag("none"))


async def test_rule_fetches_the_tags_that_match(warming: Warming) -> None:
    for number in range(3):
        warming.add_image(f"3.{number}", config=b"%d" % number)
    warming.add_image("edge", config=b"edge")
    report = await warming.prefetch(tags=("3.*",))
    assert report == PrefetchReport(images=3, failed=0, blobs_fetched=4, bytes_fetched=len(b"012layer"))
    assert warming.succeeded == ["docker.io/alpine"]
    assert not await warming.blobs() & encoded(b"edge")


async def test_rule_without_wildcards_lists_no_tags(warming: Warming) -> None:
    warming.add_image("slim", "full")
    assert (await warming.prefetch(tags=("slim", "full"))).images == 2
    assert warming.upstream.asked["tags"] == 0


async def test_number_of_tags_is_bounded(
    warming: Warming, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(prefetching, "TAGS_MAX", 2)
    warming.add_image("1", "2", "3")
    assert (await warming.prefetch(tags=("?",))).images == 2
    assert "only 2 tags prefetched" in caplog.text


async def test_local_repository_is_not_prefetched(warming: Warming) -> None:
    assert await warming.prefetch(image="local/app", tags=("*",)) == PrefetchReport()


async def test_run_ends_when_another_replica_takes_over(warming: Warming) -> None:
    warming.add_image("1")
    assert (await warming.prefetch(tags=("*",), goes_on=False)).images == 0
    assert warming.succeeded == []


async def test_failure_is_logged_once_until_the_image_is_there(
    warming: Warming, caplog: pytest.LogCaptureFixture
) -> None:
    warming.add_image("good")
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            report = await warming.prefetch(tags=("good", "missing"))
            assert (report.images, report.failed) == (2, 1)
        assert caplog.text.count("not prefetched") == 1
        assert warming.succeeded == []
        warming.add_image("missing", config=b"new")
        await warming.cache.time.advance(3600)
        assert (await warming.prefetch(tags=("good", "missing"))).failed == 0
    assert caplog.text.count("prefetched again") == 1
    assert warming.succeeded == ["docker.io/alpine"]


async def test_failing_list_of_tags_is_logged_once(warming: Warming, caplog: pytest.LogCaptureFixture) -> None:
    warming.upstream.failure = UpstreamUnavailableError("down")
    for _ in range(2):
        assert (await warming.prefetch(tags=("*",))).failed == 1
    assert caplog.text.count("not prefetched") == 1


async def test_failure_of_the_store_ends_the_run(warming: Warming, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_arguments: object, **_options: object) -> None:
        raise StorageUnavailableError("down")

    warming.add_image("1")
    monkeypatch.setattr(warming.warmer, "warm", fail)
    with pytest.raises(StorageUnavailableError):
        await warming.prefetch(tags=("1",))
