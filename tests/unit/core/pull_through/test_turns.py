"""Turns of several worker processes: one of them asks the upstream for all."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.spool.folder import FolderSpool
from adapters.spool.memory import InMemorySpool, SpoolMemory
from adapters.upstream.memory import InMemoryUpstream
from core.errors import (
    ManifestUnknownError,
    StorageFullError,
    StorageUnavailableError,
    UpstreamBusyError,
    UpstreamError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from core.model.digest import Digest
from core.model.names import Reference, RepositoryName, Tag
from core.ports.spool import SpooledBlob
from core.ports.upstream import UpstreamManifest, UpstreamTag
from core.pull_through.turns import Turns
from core.typing import override
from tests.support.cached_services import NAME, CachedServices, add_image
from tests.support.core_services import in_a_thread
from tests.support.simulated_time import SimulatedTime

TAG = Tag("3.20")


class DistantUpstream(InMemoryUpstream):
    """Answers only after other tasks had turns, and allows a number of pulls, like Docker Hub."""

    quota_left = 1000

    @override
    async def resolve(self, name: str, tag: Tag, *, etag: str | None = None) -> UpstreamTag | None:
        await _travel()
        return await super().resolve(name, tag, etag=etag)

    @override
    async def manifest(self, name: str, reference: Reference) -> UpstreamManifest:
        await _travel()
        self.quota_left -= 1
        if self.quota_left < 0:
            raise UpstreamBusyError("quota used up", retry_after=3600)
        return await super().manifest(name, reference)


async def _travel() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def workers(time: SimulatedTime, upstream: InMemoryUpstream, *, number: int = 3) -> list[CachedServices]:
    memory, storage = SpoolMemory(), InMemoryBlobStorage(now=time.now)
    return [CachedServices(time, upstream, storage=storage, spool=InMemorySpool(memory)) for _ in range(number)]


async def pull_at_once(processes: Sequence[CachedServices], *references: Reference) -> list[object]:
    """Pull several times in each process; return the contents and the errors."""

    async def pull(process: CachedServices, reference: Reference) -> object:
        try:
            return (await process.manifests.get(NAME, reference)).content
        except (ManifestUnknownError, UpstreamError) as error:
            return error

    async with asyncio.TaskGroup() as group:
        pulls = [
            group.create_task(pull(process, reference))
            for process in processes
            for reference in references
            for _ in range(10)
        ]
    return [each.result() for each in pulls]


async def test_quota_of_one_pull_serves_all_workers(time: SimulatedTime):
    upstream = DistantUpstream("docker.io")
    upstream.quota_left = 1
    content = add_image(upstream, "3.20")
    found = await pull_at_once(workers(time, upstream), TAG, Digest.of(content))
    assert found == [content] * 60
    assert upstream.asked["resolve"] == 1


async def test_quota_of_one_pull_serves_pulls_by_digest(time: SimulatedTime):
    upstream = DistantUpstream("docker.io")
    upstream.quota_left = 1
    content = add_image(upstream, "3.20")
    assert await pull_at_once(workers(time, upstream), Digest.of(content)) == [content] * 30


@pytest.mark.parametrize(
    "failure", [UpstreamTimeoutError("slow"), UpstreamUnavailableError("down"), UpstreamBusyError("x", retry_after=60)]
)
async def test_workers_that_wait_share_the_failure(time: SimulatedTime, failure: UpstreamError):
    upstream = DistantUpstream("docker.io")
    upstream.failure = failure
    found = await pull_at_once(workers(time, upstream), TAG)
    assert {type(each) for each in found} == {type(failure)}
    assert upstream.asked["resolve"] == 1


async def test_workers_that_wait_serve_stale_tags(time: SimulatedTime):
    upstream = DistantUpstream("docker.io")
    content = add_image(upstream, "3.20")
    processes = workers(time, upstream)
    await pull_at_once(processes, TAG)
    time.pass_seconds(100)
    upstream.failure = UpstreamTimeoutError("slow")
    assert await pull_at_once(processes, TAG) == [content] * 30
    assert upstream.asked["resolve"] == 2


async def test_workers_that_wait_share_an_absence(time: SimulatedTime):
    upstream = DistantUpstream("docker.io")
    found = await pull_at_once(workers(time, upstream), TAG)
    assert {type(each) for each in found} == {ManifestUnknownError}
    assert upstream.asked["resolve"] == 1


async def test_turn_passes_on_when_a_process_is_killed():
    memory = SpoolMemory()
    killed, spool = InMemorySpool(memory), InMemorySpool(memory)
    first = Turns(killed).take(NAME, TAG)
    await first.__aenter__()
    waiting = asyncio.ensure_future(_take(Turns(spool)))
    await _travel()
    assert not waiting.done()
    killed.kill()
    assert await waiting
    assert spool.open_handles == 0


async def test_turn_ends_with_its_block_and_leaves_nothing():
    spool = InMemorySpool()
    turns = Turns(spool)
    for _ in range(3):
        assert not await _take(turns)
    assert (spool.open_handles, spool.digests) == (0, set())
    async with turns.take(NAME, TAG) as turn:
        turn.own_failure = UpstreamError("down")
    assert (spool.open_handles, spool.digests) == (0, set())


async def test_failure_that_is_not_the_upstreams_is_not_shared():
    memory = SpoolMemory()
    async with Turns(InMemorySpool(memory)).take(NAME, TAG) as turn:
        waiting = asyncio.ensure_future(_take(Turns(InMemorySpool(memory))))
        await _travel()
        turn.own_failure = StorageFullError("no space")
    assert await waiting


async def test_turn_that_cannot_be_removed_is_closed(tmp_path: Path):
    folder = tmp_path / "spool"
    async with FolderSpool(str(folder), offload=in_a_thread) as spool:
        async with Turns(spool).take(NAME, TAG):
            folder.rename(tmp_path / "moved")
            folder.write_text("not a folder")
        assert spool.open_handles == 0


async def test_workers_with_a_folder_take_turns(tmp_path: Path, time: SimulatedTime):
    upstream = DistantUpstream("docker.io")
    upstream.quota_left = 1
    content = add_image(upstream, "3.20")
    async with FolderSpool(str(tmp_path), offload=in_a_thread) as spool:
        storage = InMemoryBlobStorage(now=time.now)
        processes = [CachedServices(time, upstream, storage=storage, spool=spool) for _ in range(3)]
        assert await pull_at_once(processes, TAG) == [content] * 30
        assert await spool.sweep(unchanged_seconds=0) == 0
    assert upstream.asked == {"resolve": 1, "manifest": 1}


async def test_number_of_turns_is_bounded():
    spool = InMemorySpool()
    turns = Turns(spool, turns_max=1)
    async with turns.take(NAME, TAG), turns.take(NAME, Tag("other")):
        assert spool.open_handles == 1
    async with turns.take(NAME, Tag("other")):
        assert spool.open_handles == 1


async def test_process_without_a_spool_takes_no_turns():
    assert not await _take(Turns(None))


class BrokenSpool(InMemorySpool):
    """Has no space."""

    @override
    async def open(self, digest: Digest) -> SpooledBlob:
        raise StorageUnavailableError("no space")


async def test_process_asks_without_a_turn_if_the_spool_is_broken(time: SimulatedTime, upstream: InMemoryUpstream):
    cache = CachedServices(time, upstream, spool=BrokenSpool())
    content = add_image(upstream, "3.20")
    assert (await cache.manifests.get(NAME, TAG)).content == content


async def test_cancelled_wait_closes_its_handle():
    memory = SpoolMemory()
    spool = InMemorySpool(memory)
    async with Turns(InMemorySpool(memory)).take(NAME, TAG):
        waiting = asyncio.ensure_future(_take(Turns(spool)))
        await _travel()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert spool.open_handles == 0


async def _take(turns: Turns, name: RepositoryName = NAME) -> bool:
    """Take a turn; return whether it had to wait."""
    async with turns.take(name, TAG) as turn:
        return turn.has_waited
