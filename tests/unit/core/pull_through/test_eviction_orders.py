"""Evictions, pushes, fetches and collections on one store, in hundreds of orders of their storage requests.

In any order, and with a process suspended for any time, an image that was pushed to a local repository and answered
with 201 exists completely at the end, although its layers came from the cache by a mount.
"""

import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Enum, auto

import pytest

from core.collection.guard import CollectionGuard
from core.collection.marking import Marker
from core.collection.removing import RoundLostError
from core.errors import ManifestBlobUnknownError
from core.model import media_types
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.pull_through.selection import Eviction
from tests.support.cached_store import CachedStore
from tests.support.content import image_manifest
from tests.support.core_services import CoreServices, chunks
from tests.support.promises import Promises
from tests.support.turns import ActingBlobStorage, Chooser, RandomChooser, Stage, broken_by_two_switches

# Other tests run the same lines; measuring coverage here would double the time of this file.
pytestmark = pytest.mark.unmeasured

NAME, OTHER, LOCAL = RepositoryName("hub/alpine"), RepositoryName("hub/debian"), RepositoryName("app")
LAYER, OWN = b"cached layer", b"layer of the client"
REQUEST_SECONDS = 15.0
"""Longest duration of a request of an actor that is not suspended."""
ORDERS = 10
"""For each scenario and suspension, which have seeds of their own: one seed plays alike in all of them."""
TURNS = 110
"""More turns than an eviction takes."""


class Suspended(Enum):
    """The processes that may stand still, for any time, in the middle of a request."""

    SERVERS = auto()
    EVICTORS = auto()


class Run:
    """One run: a store with two cached images that share a layer."""

    def __init__(self, chooser: Chooser, suspended: Suspended) -> None:
        self.store = CachedStore()
        movers = ["evictor", "second evictor", "collector"] if suspended is Suspended.SERVERS else ["pusher", "fetcher"]
        self.stage = Stage(self.store.time, chooser, patience=dict.fromkeys(movers, REQUEST_SECONDS))
        self.promises = Promises(self.store.storage, looks_at_once=suspended is Suspended.SERVERS)
        self.suspended = suspended

    def view(self, name: str) -> ActingBlobStorage:
        return ActingBlobStorage(self.store.storage, self.stage, name)

    def replica(self, name: str) -> CoreServices:
        services = self.store.replica(self.view(name))
        if self.suspended is not Suspended.SERVERS:
            self.stage.stand_by(self._watch(services.guard))
        return services

    async def _watch(self, guard: CollectionGuard) -> None:
        while True:
            await guard.poll()
            await self.store.time.sleep(guard.poll_seconds)

    async def play(self, *actors: Callable[["Run"], Awaitable[None]]) -> Sequence[str]:
        for key, content in (await objects_at_the_start()).items():
            await self.store.storage.write(key, content)
        await self.store.time.advance(2 * 3600)
        await self.stage.play([_started(actor, self) for actor in actors])
        return await self.promises.check()


_START: dict[str, bytes] = {}


async def objects_at_the_start() -> Mapping[str, bytes]:
    """Return the objects with which the store of every run begins. The first run computes them for all runs."""
    if not _START:
        store = CachedStore()
        await store.fetch(NAME, b"config", [LAYER])
        await store.fetch(OTHER, b"other", [LAYER])
        _START.update({key: await store.storage.read(key) for key in await store.keys()})
    return _START


async def _started(actor: Callable[[Run], Awaitable[None]], run: Run) -> None:
    await actor(run)


async def push(run: Run, services: CoreServices, config: bytes, *layers: bytes) -> None:
    """Push an image, and mount what the store has."""
    for blob in (config, *layers):
        digest = Digest.of(blob)
        if not await services.blobs.mount(LOCAL, digest, source=None):
            await services.uploads.put(LOCAL, digest, chunks(blob))
    manifest = image_manifest(config, layers)
    try:
        await services.manifests.put(LOCAL, manifest, media_types.OCI_MANIFEST, tags=[Tag("v1")])
    except ManifestBlobUnknownError:
        # The client pushes again.
        return
    await run.promises.give(LOCAL, Digest.of(manifest))


async def push_with_a_cached_layer(run: Run) -> None:
    await push(run, run.replica("pusher"), b"local config", LAYER, OWN)


async def push_the_cached_image(run: Run) -> None:
    await push(run, run.replica("pusher"), b"config", LAYER)


async def fetch_again(run: Run) -> None:
    """Store the image again, as a fetch from the upstream does."""
    services = run.replica("fetcher")
    for blob in (b"config", LAYER):
        await services.uploads.put(NAME, Digest.of(blob), chunks(blob))
    with contextlib.suppress(ManifestBlobUnknownError):
        await services.manifests.put(
            NAME, image_manifest(b"config", [LAYER]), media_types.OCI_MANIFEST, tags=[Tag("latest")]
        )


async def evict(run: Run, name: str = "evictor") -> None:
    # An evictor that stood still for long gives up: another one took it for dead.
    with contextlib.suppress(RoundLostError):
        await run.store.evictor(run.view(name)).evict(Eviction(size_max=0))


async def evict_too(run: Run) -> None:
    await evict(run, "second evictor")


async def collect(run: Run) -> None:
    with contextlib.suppress(RoundLostError):
        await run.store.collector(run.view("collector"), deletes_untagged=True).run()


SCENARIOS = {
    "layer": [push_with_a_cached_layer, evict],
    "image": [push_the_cached_image, evict],
    "fetch": [push_the_cached_image, fetch_again, evict],
    "two-evictors": [push_with_a_cached_layer, evict, evict_too],
    "collector": [push_with_a_cached_layer, evict, collect],
}


async def broken_by(scenario: str, chooser: Chooser, suspended: Suspended = Suspended.SERVERS) -> Sequence[str]:
    return await Run(chooser, suspended).play(*SCENARIOS[scenario])


@pytest.mark.parametrize("suspended", Suspended)
@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_random_orders_lose_no_pushed_image(scenario: str, suspended: Suspended) -> None:
    first = ORDERS * (len(Suspended) * list(SCENARIOS).index(scenario) + suspended.value - 1)
    for seed in range(first, first + ORDERS):
        assert await broken_by(scenario, RandomChooser(seed), suspended) == [], f"seed {seed}"


async def broken_by_switches(scenario: str, first_start: int = 0) -> Sequence[str]:
    """Let the evictor run so far, then the pusher so far, then the evictor to its end; return the first loss."""
    starts = range(first_start, TURNS)

    async def play(chooser: Chooser) -> tuple[Stage, Sequence[str]]:
        run = Run(chooser, Suspended.SERVERS)
        broken = await run.play(*SCENARIOS[scenario])
        return run.stage, broken

    return await broken_by_two_switches(play, "evictor", "pusher", starts=starts, lengths=(9, 21, 33, 1_000))


@pytest.mark.parametrize("scenario", ["layer", "image"])
async def test_orders_with_two_switches_lose_no_pushed_image(scenario: str) -> None:
    assert await broken_by_switches(scenario) == []


async def test_without_confirming_an_image_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The explorer can fail: a guard that confirms nothing is found out."""

    async def confirm(*_arguments: object, **_options: object) -> Sequence[Digest]:
        return ()

    monkeypatch.setattr(CollectionGuard, "confirm", confirm)
    # Only a push near the end of the eviction shows it.
    assert await broken_by_switches("layer", TURNS * 3 // 4)


async def test_without_a_second_check_an_image_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """An evictor that does not look again loses the layer of a push that had not seen its round."""

    async def mark_new(_self: Marker) -> None:
        return

    monkeypatch.setattr(Marker, "mark_new", mark_new)
    assert await broken_by_switches("layer")
