"""Contract of the spool; subclasses provide `make`, which returns the spool of another process of one machine."""

import asyncio
from collections.abc import Callable

import pytest

from core.errors import StorageFullError, StorageUnavailableError
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.ports.spool import (
    FAILURE_MESSAGE_LENGTH_MAX,
    Spool,
    SpooledBlob,
    SpoolFailure,
    SpoolFailureKind,
    SpoolPhase,
    SpoolState,
)

CONTENT = bytes(range(256)) * 1000
DIGEST = Digest.of(CONTENT)
NAME = RepositoryName("docker.io/library/alpine")
FAILURE = SpoolFailure(
    kind=SpoolFailureKind.BUSY, message="docker.io is busy, wäit", name="docker.io/library/alpine", retry_after=60
)


async def settled(blob: SpooledBlob, phase: SpoolPhase) -> SpoolState:
    """Wait until a blob is in a phase, as a follower does."""
    async with asyncio.timeout(60):
        while (state := blob.state).phase is not phase:
            await blob.wait(state)
    return state


class SpoolContract:
    @pytest.fixture
    def make(self) -> Callable[..., Spool]:
        """Return a function that makes a spool; `handles_max` is its only argument."""
        raise NotImplementedError

    @pytest.fixture
    def fill_disk(self) -> Callable[[], None]:
        """Return a function that leaves no space for another byte."""
        raise NotImplementedError

    @pytest.fixture
    async def spool(self, make):
        async with make() as spool:
            yield spool

    @pytest.fixture
    async def other(self, make):
        """Return the spool of another process."""
        async with make() as spool:
            yield spool

    @pytest.fixture
    async def blob(self, spool):
        blob = await spool.open(DIGEST)
        yield blob
        blob.close()

    @pytest.fixture
    async def follower(self, other):
        follower = await other.open(DIGEST)
        yield follower
        follower.close()

    async def test_new_blob_is_empty(self, blob):
        assert blob.state == SpoolState(filled=0, size=None, phase=SpoolPhase.FILLING, failure=None)
        assert await blob.read(0, 10) == b""
        assert not await blob.is_removed()

    async def test_bytes_are_read_by_every_handle(self, blob, follower):
        assert await blob.lead()
        await blob.begin(len(CONTENT))
        await blob.append(CONTENT[:100_000])
        await blob.append(CONTENT[100_000:])
        for handle in (blob, follower):
            assert handle.state == SpoolState(filled=len(CONTENT), size=len(CONTENT))
            assert await handle.read(0, len(CONTENT)) == CONTENT
            assert await handle.read(99_999, 3) == CONTENT[99_999:100_002]
            assert await handle.read(len(CONTENT) - 1, 10) == CONTENT[-1:]
            assert await handle.read(len(CONTENT), 10) == b""

    async def test_only_one_handle_leads(self, blob, follower):
        assert await follower.lead()
        assert not await blob.lead()
        assert await follower.lead()
        await follower.release()
        await follower.release()
        assert await blob.lead()
        assert not await follower.lead()
        blob.close()
        blob.close()
        assert await follower.lead()

    async def test_handle_that_does_not_lead_changes_nothing(self, blob):
        for change in (blob.append(b"x"), blob.begin(1), blob.finish(SpoolPhase.VERIFIED), blob.fail(FAILURE)):
            with pytest.raises(RuntimeError):
                await change
        assert blob.state == SpoolState()

    async def test_another_handle_continues(self, blob, follower):
        await blob.lead()
        await blob.begin(len(CONTENT))
        await blob.append(CONTENT[:1000])
        blob.close()
        assert await follower.lead()
        assert follower.state == SpoolState(filled=1000, size=len(CONTENT))
        await follower.append(CONTENT[1000:])
        assert await follower.read(0, len(CONTENT)) == CONTENT

    @pytest.mark.parametrize("phase", [SpoolPhase.VERIFIED, SpoolPhase.STORED])
    async def test_end_reaches_followers_and_stays(self, blob, follower, phase):
        await blob.lead()
        await blob.begin(3)
        waiting = asyncio.create_task(settled(follower, phase))
        await blob.append(b"abc")
        await blob.finish(phase)
        assert await waiting == SpoolState(filled=3, size=3, phase=phase)
        await blob.release()
        assert await follower.lead()
        assert follower.state.phase is phase

    async def test_failure_reaches_followers_with_its_class(self, blob, follower):
        await blob.lead()
        await blob.begin(100)
        await blob.append(b"abc")
        waiting = asyncio.create_task(settled(follower, SpoolPhase.FAILED))
        await blob.fail(FAILURE)
        assert await waiting == SpoolState(filled=3, size=100, phase=SpoolPhase.FAILED, failure=FAILURE)

    @pytest.mark.parametrize("kind", list(SpoolFailureKind))
    async def test_failure_of_any_kind_is_kept_short(self, blob, kind):
        await blob.lead()
        await blob.fail(SpoolFailure(kind=kind, message="ä" * 10_000, name="n" * 255))
        message = "ä" * FAILURE_MESSAGE_LENGTH_MAX
        assert blob.state.failure == SpoolFailure(kind=kind, message=message, name="n" * 255)

    async def test_next_leader_clears_a_failure_and_keeps_the_bytes(self, blob, follower):
        await blob.lead()
        await blob.begin(100)
        await blob.append(b"abc")
        await blob.fail(FAILURE)
        await blob.release()
        assert await follower.lead()
        assert blob.state == SpoolState(filled=3, size=100)

    async def test_wait_returns_when_the_leader_has_gone(self, blob, follower):
        await blob.lead()
        async with asyncio.timeout(60):
            waiting = asyncio.create_task(follower.wait(follower.state))
            await asyncio.sleep(0)
            blob.close()
            await waiting
            while not await follower.lead():
                await follower.wait(follower.state)

    async def test_wait_returns_at_once_for_an_old_state(self, blob, follower):
        await blob.lead()
        seen = follower.state
        await blob.append(b"x")
        await follower.wait(seen)
        assert follower.state.filled == 1

    async def test_marks_are_seen_by_every_handle(self, blob, follower):
        assert not await follower.is_marked(NAME)
        await blob.lead()
        await blob.mark(NAME)
        await follower.mark(RepositoryName("b"))
        for handle in (blob, follower):
            assert await handle.is_marked(NAME)
            assert await handle.is_marked(RepositoryName("b"))
            assert not await handle.is_marked(RepositoryName("c"))
        assert blob.state == SpoolState()

    async def test_removed_blob_stays_readable(self, blob, follower, other):
        await blob.lead()
        await blob.begin(3)
        await blob.append(b"abc")
        await blob.remove()
        await blob.remove()
        assert await blob.is_removed()
        assert await follower.is_removed()
        assert await follower.read(0, 3) == b"abc"
        new = await other.open(DIGEST)
        assert new.state == SpoolState()
        assert not await new.is_removed()
        await blob.remove()
        assert not await new.is_removed()
        new.close()

    async def test_number_of_handles_is_bounded(self, make):
        async with make(handles_max=2) as spool:
            handles = [await spool.open(Digest.of(content)) for content in (b"1", b"2")]
            with pytest.raises(StorageUnavailableError):
                await spool.open(DIGEST)
            handles.pop().close()
            handles.append(await spool.open(DIGEST))
            for handle in handles:
                handle.close()
            assert spool.open_handles == 0

    async def test_full_disk_keeps_the_bytes_before(self, blob, fill_disk):
        await blob.lead()
        await blob.begin(len(CONTENT))
        await blob.append(CONTENT[:1000])
        fill_disk()
        with pytest.raises(StorageFullError):
            await blob.append(CONTENT)
        assert blob.state.filled == 1000
        assert await blob.read(0, len(CONTENT)) == CONTENT[:1000]

    async def test_sweep_removes_what_no_process_leads(self, spool, blob, other):
        unled = await other.open(Digest.of(b"unled"))
        await blob.lead()
        assert await spool.sweep(unchanged_seconds=3600) == 0
        assert await other.sweep(unchanged_seconds=0) == 1
        assert await unled.is_removed()
        assert not await blob.is_removed()
        unled.close()
