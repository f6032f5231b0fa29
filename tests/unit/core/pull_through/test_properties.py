"""Properties of cached manifests: cost of a warm pull, and correctness in every order of failure and recovery."""

import asyncio
import random
from contextlib import suppress

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.upstream.memory import InMemoryUpstream
from core.errors import (
    ManifestUnknownError,
    StorageUnavailableError,
    UpstreamBusyError,
    UpstreamError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from core.model import media_types
from core.model.digest import Digest
from core.model.freshness import CacheOutcome
from core.model.names import Reference, RepositoryName, Tag
from core.pull_through.rules import UpstreamRules
from tests.support.cached_services import NAME, REMOTE, CachedServices, add_image
from tests.support.content import image_manifest
from tests.support.faulty_blob_storage import FaultyBlobStorage
from tests.support.simulated_time import SimulatedTime

TAG = Tag("3.20")


async def test_warm_pull_costs_the_requests_of_a_local_pull(time: SimulatedTime, upstream: InMemoryUpstream):
    storage = FaultyBlobStorage(InMemoryBlobStorage(now=time.now))
    cache = CachedServices(time, upstream, storage=storage)
    local = RepositoryName("team/app")
    await cache.push_blob(local, b"{}")
    content = image_manifest(b"{}", annotations={"of": "local"})
    await cache.manifests.put(local, content, media_types.OCI_MANIFEST, tags=[TAG])
    cached = add_image(upstream, "3.20")
    await cache.manifests.get(NAME, TAG)

    async def costs(name: RepositoryName, reference: Reference) -> list[str]:
        before = len(storage.operations)
        await cache.manifests.get(name, reference)
        return [operation.partition(" ")[0] for operation in storage.operations[before:]]

    assert await costs(NAME, TAG) == await costs(local, TAG) == ["read", "stat"]
    assert await costs(NAME, Digest.of(cached)) == await costs(local, Digest.of(content)) == ["stat"]


FAILURES: list[UpstreamError | None] = [
    None,
    None,
    UpstreamUnavailableError("down"),
    UpstreamTimeoutError("slow"),
    UpstreamBusyError("wait", retry_after=45),
]


class World:
    """Two processes on one faulty store, and an upstream that changes and fails."""

    def __init__(self, time: SimulatedTime, seed: int) -> None:
        self.random = random.Random(seed)
        self.time = time
        self.upstream = InMemoryUpstream("docker.io")
        self.storage = FaultyBlobStorage(InMemoryBlobStorage(now=time.now), seed=seed, delay_rate=0.2)
        rules = UpstreamRules(prefix="docker.io", stale_seconds=600)
        first = CachedServices(time, self.upstream, storage=self.storage, rules=rules)
        self.processes = [first, first.restarted()]
        self.targets: list[tuple[float, bytes]] = []
        """The targets of the tag, with the times at which they were set."""

    def move(self) -> None:
        content = add_image(self.upstream, "3.20", layer=self.random.randbytes(4))
        self.targets.append((self.time.clock(), content))

    def step(self) -> None:
        match self.random.randrange(6):
            case 0:
                self.move()
            case 1:
                self.upstream.failure = self.random.choice(FAILURES)
            case 2:
                self.storage.error_rate = self.random.choice([0, 0, 0.2])
            case 3:
                self.processes[self.random.randrange(2)] = self.processes[0].restarted()
            case _:
                self.time.pass_seconds(self.random.choice([0.5, 5, 30, 70, 300]))

    async def pull(self) -> None:
        process = self.random.choice(self.processes)
        began_at, upstream_failure = self.time.clock(), self.upstream.failure
        try:
            manifest = await process.manifests.get(NAME, TAG)
        except (UpstreamError, StorageUnavailableError):
            assert upstream_failure is not None or self.storage.error_rate or self._recently_failed(process)
            return
        assert Digest.of(manifest.content) == manifest.digest
        ends = [at for at, _ in self.targets[1:]] + [float("inf")]
        outdated = [end for (_, content), end in zip(self.targets, ends, strict=True) if content == manifest.content]
        assert outdated, "never was a target"
        assert manifest.freshness is not None
        limit = 600 if manifest.freshness.outcome is CacheOutcome.STALE else 60
        assert began_at - outdated[-1] <= limit
        with suppress(UpstreamError, StorageUnavailableError):
            assert (await process.manifests.get(NAME, manifest.digest)).content == manifest.content

    def _recently_failed(self, process: CachedServices) -> bool:
        return process.pauses.failure_of("docker.io", (NAME, TAG)) is not None


@pytest.mark.parametrize("seed", range(60))
async def test_any_order_of_failures_serves_right_and_fresh_content(time: SimulatedTime, seed: int):
    world = World(time, seed)
    world.move()
    for _ in range(60):
        world.step()
        async with asyncio.TaskGroup() as group:
            for _ in range(world.random.randrange(1, 4)):
                group.create_task(world.pull())
    world.upstream.failure = None
    world.storage.heal()
    time.pass_seconds(100)
    for process in world.processes:
        assert (await process.manifests.get(NAME, TAG)).content == world.targets[-1][1]
        with pytest.raises(ManifestUnknownError):
            await process.manifests.get(NAME, Digest.of(REMOTE.encode()))
