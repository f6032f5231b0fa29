"""Fetches: one per blob and machine, whatever happens to clients, processes, the upstream and the store."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from typing_extensions import override

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.spool.memory import InMemorySpool
from core.errors import (
    BlobUnknownError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
    UpstreamAbsentError,
    UpstreamBusyError,
    UpstreamError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.media_types import OCTET_STREAM
from core.model.names import RepositoryName
from core.ports.blob_storage import BlobReader
from core.ports.spool import SpoolPhase, SpoolState
from core.pull_through.failures import error_of, failure_of
from core.pull_through.fetch import WITHHELD_BYTES, Fetch
from core.pull_through.filling import RESUMES_MAX, FetchEvent
from core.store import layout
from tests.support.core_services import NOW, CoreServices, in_turn
from tests.support.faulty_blob_storage import FaultyBlobStorage
from tests.support.pull_through import CachingProcess, Machine
from tests.support.quiet import quiet
from tests.support.streams import payload

NAME = RepositoryName("docker.io/library/alpine")
OTHER = RepositoryName("docker.io/grafana/grafana")
QUAY = RepositoryName("quay.io/alpine")
PIECE = 64 * 1024
CONTENT = payload(5 * PIECE + 1000)
DIGEST = Digest.of(CONTENT)


@pytest.fixture(autouse=True)
def blob(machine):
    machine.hub.add_blob("library/alpine", CONTENT)


class Gate:
    """Lets pieces of the upstream through, one per `open`."""

    def __init__(self, machine: Machine) -> None:
        self._free = asyncio.Semaphore(0)
        machine.hub.gate = machine.quay.gate = self._free.acquire

    async def open(self, pieces: int = 1) -> None:
        """Let pieces through, and wait until every task waits again."""
        for _ in range(pieces):
            self._free.release()
        await quiet()


@pytest.fixture
def gate(machine):
    return Gate(machine)


def begin(process: CachingProcess, name: RepositoryName = NAME, **part: int) -> "asyncio.Task[bytes]":
    return asyncio.create_task(process.read(name, DIGEST, **part))


class Client:
    """Reads a blob into `received`, in a task."""

    def __init__(self, process: CachingProcess, name: RepositoryName = NAME, **part: int) -> None:
        self.received = b""
        self.task = asyncio.create_task(self._read(process, name, part))

    async def _read(self, process: CachingProcess, name: RepositoryName, part: dict[str, int]) -> None:
        async with process.blobs.open(name, DIGEST, offset=part.get("offset", 0), length=part.get("length")) as reader:
            async for piece in reader:
                self.received += piece


async def stop(task: "asyncio.Task[Any]") -> None:
    task.cancel()
    await asyncio.wait([task])


async def test_all_clients_of_all_processes_share_one_fetch(machine, process, sibling, gate):
    clients = [Client(each) for each in (process, sibling) for _ in range(5)]
    await gate.open(2)
    assert {len(client.received) for client in clients} == {2 * PIECE}
    await gate.open(10)
    assert {client.received for client in clients} == {CONTENT}
    assert machine.hub.asked == {"open_blob": 1}
    assert machine.events == {FetchEvent.BEGUN: 1, FetchEvent.STORED: 1}
    assert machine.memory.blobs == {}
    assert (process.fetcher.in_flight, process.spool.open_handles, sibling.spool.open_handles) == (0, 0, 0)


async def test_ranges_wait_for_their_bytes_and_for_the_verification(machine, process, sibling, gate):
    ahead = Client(sibling, offset=4 * PIECE, length=2000)
    first = Client(process, offset=0, length=3 * PIECE)
    await gate.open(4)
    assert (len(first.received), len(ahead.received)) == (2 * PIECE, 0)
    await gate.open(10)
    assert first.received == CONTENT[: 3 * PIECE]
    assert ahead.received == CONTENT[4 * PIECE : 4 * PIECE + 2000]
    assert machine.hub.asked == {"open_blob": 1}


async def test_fetch_goes_on_without_clients(machine, process, gate):
    client = Client(process)
    await gate.open(1)
    await stop(client.task)
    await gate.open(10)
    assert await machine.services.read_blob(NAME, DIGEST) == CONTENT
    assert (machine.hub.asked, process.fetcher.in_flight, process.spool.open_handles) == ({"open_blob": 1}, 0, 0)


async def test_other_clients_finish_when_the_first_leaves(machine, process, sibling, gate):
    first, second, third = Client(process), Client(process), Client(sibling)
    await gate.open(2)
    await stop(first.task)
    await gate.open(10)
    assert second.received == third.received == CONTENT


async def test_follower_without_clients_stops_following(machine, process, sibling, gate):
    first, second = Client(process), Client(sibling)
    await gate.open(2)
    await stop(second.task)
    assert (sibling.fetcher.in_flight, sibling.spool.open_handles) == (0, 0)
    third = Client(sibling)
    await gate.open(10)
    assert first.received == third.received == CONTENT


async def test_client_that_leaves_at_once_leaves_nothing(machine, process):
    client = Client(process)
    await asyncio.sleep(0)
    await stop(client.task)
    await quiet()
    assert process.spool.open_handles == process.fetcher.in_flight == 0


@pytest.mark.parametrize("pieces", range(6))
async def test_killed_process_is_replaced(machine, process, sibling, gate, pieces):
    client = Client(sibling)
    async with machine.process() as doomed:
        await stop(client.task)
        first = Client(doomed)
        await quiet()
        client = Client(sibling)
        await gate.open(pieces)
        assert len(client.received) == min(pieces * PIECE, len(CONTENT) - WITHHELD_BYTES)
    assert first.task.done()
    await gate.open(10)
    assert client.received == CONTENT
    assert machine.hub.asked == {"open_blob": 2}
    assert sum(machine.received.values()) == len(CONTENT)


async def test_broken_connection_is_resumed_after_each_piece(machine, process):
    for number, breaks_after in enumerate([0, 1, PIECE, 3 * PIECE + 5, len(CONTENT) - 1]):
        content = CONTENT + bytes([number])
        digest = machine.hub.add_blob("library/alpine", content)
        machine.hub.breaks_after = breaks_after
        reading = asyncio.create_task(process.read(NAME, digest))
        await machine.time.advance(1)
        assert await reading == content
        await quiet()
    assert machine.events[FetchEvent.RESUMED] == 5
    assert machine.received["docker.io"] == 5 * len(CONTENT) + 5


class BreakingForever:
    """Breaks each connection after some bytes."""

    def __init__(self, machine: Machine, *, after: int, error: UpstreamError | None = None) -> None:
        self.machine = machine
        self.after = after
        machine.hub.failure_of_blob = error
        machine.hub.gate = self.arm
        self.arm_now()

    async def arm(self) -> None:
        self.arm_now()

    def arm_now(self) -> None:
        self.machine.hub.breaks_after = self.after


async def test_fetch_gives_up_after_many_breaks_and_later_continues(machine, process, sibling):
    BreakingForever(machine, after=1000)
    clients = [Client(process), Client(sibling)]
    await machine.time.advance(60)
    for client in clients:
        with pytest.raises(UpstreamError):
            await client.task
        assert client.received == CONTENT[: 1000 * (RESUMES_MAX + 1)]
    assert machine.events[FetchEvent.FAILED] == 1
    assert await machine.services.keys() == set()
    machine.hub.gate = machine.hub.breaks_after = None
    assert await process.read(NAME, DIGEST) == CONTENT
    assert machine.events[FetchEvent.TAKEN_OVER] == 1
    assert machine.received["docker.io"] == len(CONTENT)


async def test_connections_that_make_progress_do_not_count(machine, process, monkeypatch):
    monkeypatch.setattr("core.pull_through.filling.PROGRESS_BYTES", 10_000)
    BreakingForever(machine, after=10_000)
    client = Client(process)
    await machine.time.advance(60)
    assert client.received == CONTENT
    assert machine.events[FetchEvent.RESUMED] > RESUMES_MAX


@pytest.mark.parametrize("error", [UpstreamBusyError("wait", retry_after=9), UpstreamAbsentError("gone")])
async def test_fetch_is_not_resumed_if_the_upstream_refuses(machine, process, error):
    BreakingForever(machine, after=1000, error=error)
    client = Client(process)
    with pytest.raises(StorageError):
        await client.task
    assert machine.hub.asked == {"open_blob": 1}
    assert machine.events == {FetchEvent.BEGUN: 1, FetchEvent.FAILED: 1}


@pytest.mark.parametrize("wrong", [CONTENT[:-1] + b"x", CONTENT + b"x", CONTENT[:-1], b"x" * 1000])
async def test_wrong_content_is_never_complete_and_never_stored(machine, process, sibling, wrong):
    machine.hub.replace_blob("library/alpine", DIGEST, wrong)
    clients = [Client(process), Client(sibling), Client(process, offset=10, length=20)]
    await quiet()
    for client, length in zip(clients, (len(wrong), len(wrong), 20), strict=True):
        with pytest.raises(UpstreamUnavailableError):
            await client.task
        assert len(client.received) < length
    assert await machine.services.keys() == set()
    assert machine.events[FetchEvent.MISMATCHED] == 1
    assert machine.memory.blobs == {}
    machine.hub.replace_blob("library/alpine", DIGEST, CONTENT)
    assert await process.read(NAME, DIGEST) == CONTENT


@asynccontextmanager
async def _opened(reader: BlobReader) -> AsyncIterator[BlobReader]:
    yield reader


class Body(BlobReader):
    """A body that an upstream sends, whatever it announced."""

    def __init__(self, size: int, *pieces: bytes) -> None:
        self.size = self.length = size
        self._pieces = pieces

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def answer(machine: Machine, monkeypatch: pytest.MonkeyPatch, *bodies: BlobReader) -> None:
    """Let the upstream answer with these bodies, one after the other, and then with the last one."""
    left = list(bodies)

    def open_blob(name: str, digest: Digest, *, offset: int = 0, length: int | None = None) -> Any:
        return _opened(left.pop(0) if len(left) > 1 else left[0])

    monkeypatch.setattr(machine.hub, "open_blob", open_blob)


async def test_body_longer_than_announced_is_refused(machine, process, monkeypatch):
    answer(machine, monkeypatch, Body(len(CONTENT), CONTENT, b"x"))
    client = Client(process)
    with pytest.raises(UpstreamUnavailableError, match="too many"):
        await client.task
    assert machine.memory.blobs == {}


async def test_body_shorter_than_announced_is_resumed(machine, process, monkeypatch):
    answer(machine, monkeypatch, Body(len(CONTENT), CONTENT[:100]), Body(len(CONTENT), b"", CONTENT[100:]))
    client = Client(process)
    await machine.time.advance(1)
    await client.task
    assert client.received == CONTENT


async def test_changed_size_ends_the_fetch(machine, process, monkeypatch):
    answer(machine, monkeypatch, Body(len(CONTENT), CONTENT[:100]), Body(len(CONTENT) + 1))
    client = Client(process)
    await machine.time.advance(1)
    with pytest.raises(UpstreamUnavailableError, match="size"):
        await client.task
    assert machine.memory.blobs == {}


async def test_upstream_that_has_fewer_bytes_than_before_is_refused(machine, process, gate):
    client = Client(process)
    await gate.open(3)
    machine.hub.breaks_after = None
    await process.fetcher.__aexit__(None, None, None)
    with pytest.raises(StorageUnavailableError):
        await client.task
    machine.hub.replace_blob("library/alpine", DIGEST, CONTENT[:100])
    with pytest.raises(UpstreamUnavailableError, match="only 100 bytes"):
        await process.read(NAME, DIGEST)
    assert machine.memory.blobs == {}


async def test_silent_upstream_is_given_up(machine, gate):
    machine.idle_seconds = 0.01
    machine.sleep = lambda _seconds: asyncio.sleep(0)
    async with machine.process() as process:
        client = Client(process)
        with pytest.raises(UpstreamTimeoutError):
            await asyncio.wait_for(client.task, 60)
        assert process.fetcher.in_flight == 0


async def test_full_spool_fails_the_clients_and_frees_the_space(machine, process, sibling):
    machine.memory.bytes_max = 2 * PIECE
    clients = [Client(process), Client(sibling)]
    for client in clients:
        with pytest.raises(StorageFullError):
            await client.task
        assert CONTENT.startswith(client.received)
    await quiet()
    assert machine.memory.blobs == {}
    assert await machine.services.keys() == set()


async def test_two_repositories_share_a_fetch_after_a_proof(machine, process, sibling, gate):
    machine.hub.add_blob("grafana/grafana", CONTENT)
    clients = [Client(process), Client(process, OTHER), Client(sibling, OTHER), Client(sibling, OTHER)]
    await gate.open(10)
    assert {client.received for client in clients} == {CONTENT}
    # One fetch, and one byte for the other repository.
    assert machine.hub.asked == {"open_blob": 2}
    for name in (NAME, OTHER):
        assert await machine.services.links.stands(layout.layer_link(name, DIGEST), DIGEST)


async def test_fetch_is_closed_to_a_repository_without_the_blob(machine, process, sibling, gate):
    first = Client(process)
    await gate.open(2)
    for each in (process, sibling):
        with pytest.raises(BlobUnknownError):
            await each.read(OTHER, DIGEST)
    await gate.open(10)
    assert first.received == CONTENT
    assert not await machine.services.links.stands(layout.layer_link(OTHER, DIGEST), DIGEST)


async def test_manifest_is_no_proof_for_another_repository(machine, process, gate):
    process.claims.note(OTHER, [Descriptor(media_type=OCTET_STREAM, digest=DIGEST, size=len(CONTENT))])
    first = Client(process)
    await gate.open(2)
    with pytest.raises(BlobUnknownError):
        await process.read(OTHER, DIGEST)
    await gate.open(10)
    assert first.received == CONTENT


async def test_another_repository_joins_a_fetch_for_one_byte(machine, process, gate):
    machine.hub.add_blob("grafana/grafana", CONTENT)
    clients = [Client(process), Client(process, OTHER)]
    await gate.open(20)
    assert {client.received for client in clients} == {CONTENT}
    assert machine.hub.asked == {"open_blob": 2}
    assert machine.received == {"docker.io": len(CONTENT)}


async def test_failure_for_one_repository_is_none_for_another(machine, process, sibling, monkeypatch):
    machine.quay.add_blob("alpine", CONTENT)
    waiting = asyncio.Event()

    @asynccontextmanager
    async def open_blob(name: str, digest: Digest, **part: Any) -> AsyncIterator[BlobReader]:
        await waiting.wait()
        raise UpstreamTimeoutError("slow")
        yield Body(0)

    monkeypatch.setattr(machine.hub, "open_blob", open_blob)
    failing = Client(process)
    await quiet()
    others = [Client(process, QUAY), Client(sibling, QUAY)]
    await quiet()
    waiting.set()
    with pytest.raises(UpstreamTimeoutError):
        await failing.task
    await quiet()
    assert {client.received for client in others} == {CONTENT}


async def test_client_fails_if_others_fail_again_and_again(machine, process, monkeypatch):
    """A client of one repository that only ever meets the failing fetches of another one gets an answer."""
    failure = failure_of(UpstreamTimeoutError("slow"), QUAY)

    async def lead(self: object) -> bool:
        return False

    blob = await InMemorySpool(machine.memory).open(DIGEST)
    await blob.lead()
    client = Client(process)
    for _ in range(3):
        await quiet()
        await blob.fail(failure)
        await quiet()
        await blob.lead()
    with pytest.raises(UpstreamTimeoutError):
        await client.task
    blob.close()


async def test_old_failure_is_none_of_a_new_client(machine, process, gate):
    blob = await InMemorySpool(machine.memory).open(DIGEST)
    await blob.lead()
    await blob.fail(failure_of(UpstreamTimeoutError("slow"), NAME))
    client = Client(process)
    await quiet()
    assert not client.task.done()
    blob.close()
    await gate.open(10)
    assert client.received == CONTENT


async def test_blob_that_was_stored_meanwhile_is_not_fetched(machine, process, sibling, monkeypatch):
    """Another process finishes between the look into the store and the look into the spool."""
    handle = InMemorySpool(machine.memory)
    blob = await handle.open(DIGEST)
    await blob.lead()
    clients = [Client(process), Client(sibling)]
    await quiet()
    await machine.services.push_blob(NAME, CONTENT)
    blob.close()
    await quiet()
    assert {client.received for client in clients} == {CONTENT}
    assert machine.hub.asked == {}
    assert machine.memory.blobs == {}


@pytest.mark.parametrize("phase", [SpoolPhase.VERIFIED, SpoolPhase.STORED])
async def test_ended_blob_of_the_spool_is_used(machine, process, monkeypatch, phase):
    blob = await InMemorySpool(machine.memory).open(DIGEST)
    await blob.lead()
    await blob.mark(NAME)
    if phase is SpoolPhase.VERIFIED:
        await blob.begin(len(CONTENT))
        await blob.append(CONTENT)
    else:
        await machine.services.push_blob(NAME, CONTENT)
        monkeypatch.setattr(machine.services.links, "read", _once(machine.services.links.read))
    await blob.finish(phase)
    await blob.release()
    if phase is SpoolPhase.STORED:
        machine.is_read_only = True
    assert await process.read(NAME, DIGEST) == CONTENT
    assert machine.hub.asked == {}


@pytest.mark.parametrize("phase", [SpoolPhase.VERIFIED, SpoolPhase.STORED])
async def test_end_between_look_and_lock_is_noticed(machine, process, monkeypatch, phase):
    """The leading process ends the blob after a follower saw it growing, and before the follower gets the lock."""
    spool = InMemorySpool(machine.memory)
    blob = await spool.open(DIGEST)
    await blob.lead()
    client = Client(process)
    await quiet()
    await blob.mark(NAME)
    if phase is SpoolPhase.VERIFIED:
        await blob.begin(len(CONTENT))
        await blob.append(CONTENT)
        await quiet()
    follower = await spool.open(DIGEST)
    lead = type(follower).lead

    async def lead_after_end(self: Any) -> bool:
        if blob.state.phase is SpoolPhase.FILLING:
            if phase is SpoolPhase.STORED:
                await machine.services.push_blob(NAME, CONTENT)
            await blob.finish(phase)
            await blob.release()
        return await lead(self)

    monkeypatch.setattr(type(follower), "lead", lead_after_end)
    await blob.begin(len(CONTENT))
    await quiet()
    await client.task
    assert client.received == CONTENT
    assert machine.hub.asked == {}


def _once(read: Callable[[str], Awaitable[Digest | None]]) -> Callable[[str], Awaitable[Digest | None]]:
    """Return a function that finds nothing at first."""
    asked: list[str] = []

    async def find(key: str) -> Digest | None:
        asked.append(key)
        return None if len(asked) == 1 else await read(key)

    return find


async def test_bytes_of_a_killed_process_are_verified_without_a_question(machine, process):
    """All bytes are here, but the process was killed before it verified them; the client's repository is unproven."""
    blob = await InMemorySpool(machine.memory).open(DIGEST)
    await blob.lead()
    await blob.begin(len(CONTENT))
    await blob.append(CONTENT)
    await blob.release()
    assert await process.read(NAME, DIGEST) == CONTENT
    # The byte that proves that the repository has the blob.
    assert machine.hub.asked == {"open_blob": 1}
    assert machine.received["docker.io"] == 0
    await quiet()
    assert await machine.services.storage.read(layout.blob_data(DIGEST)) == CONTENT


async def test_removed_blob_is_opened_again(machine, monkeypatch):
    """Between opening and locking, another process removed the blob."""
    spool = InMemorySpool(machine.memory)
    real = spool.open
    removals = 0

    async def open_then_remove(digest: Digest) -> Any:
        nonlocal removals
        handle = await real(digest)
        if removals == 0:
            removals += 1
            machine.memory.blobs.clear()
        return handle

    monkeypatch.setattr(spool, "open", open_then_remove)
    async with machine.process(spool) as process:
        assert await process.read(NAME, DIGEST) == CONTENT
        assert removals == 1
        await quiet()
        assert spool.open_handles == 0


async def test_failing_spool_fails_the_client(machine):
    spool = InMemorySpool(machine.memory, handles_max=0)
    async with machine.process(spool) as process:
        with pytest.raises(StorageUnavailableError, match="too many"):
            await process.read(NAME, DIGEST)


async def test_handle_is_closed_if_the_lock_fails(machine, process, monkeypatch):
    spool = InMemorySpool(machine.memory)
    blob = await spool.open(DIGEST)
    blob.close()

    async def lead(self: object) -> bool:
        raise StorageUnavailableError("broken")

    monkeypatch.setattr(type(blob), "lead", lead)
    with pytest.raises(StorageUnavailableError, match="broken"):
        await process.read(NAME, DIGEST)
    assert process.spool.open_handles == 0


async def test_lost_bytes_of_the_spool_fail_the_client(machine, process, sibling, gate):
    client = Client(process)
    await gate.open(1)
    follower = Client(sibling)
    await quiet()
    growing = machine.memory.blobs[DIGEST]
    growing.content.clear()
    growing.change(SpoolState(filled=3 * PIECE, size=len(CONTENT)))
    with pytest.raises(StorageUnavailableError, match="lost"):
        await follower.task
    await stop(client.task)


async def stop_all(process: CachingProcess) -> None:
    await process.fetcher.__aexit__(None, None, None)


async def test_defect_in_a_fetch_fails_the_client(machine, caplog):
    def broken(algorithm: str, state: bytes | None) -> Any:
        raise LookupError("defect")

    async with machine.process(new_hasher=broken) as process:
        with pytest.raises(LookupError):
            await process.read(NAME, DIGEST)
    assert "fetch failed" in caplog.text


async def operations_of_a_fetch(*, fail_at: int) -> tuple[Machine, list[str]]:
    """Fetch a blob while the given storage operation fails; return the machine, and the operations."""
    storage = FaultyBlobStorage(InMemoryBlobStorage(now=lambda: NOW))
    machine = Machine(services=CoreServices(storage=storage, offload=in_turn))
    machine.hub.add_blob("library/alpine", CONTENT)
    async with storage, machine.process() as process, machine.process() as sibling:
        storage.fail_at(fail_at)
        assert await process.read(NAME, DIGEST) == CONTENT
        assert await sibling.read(NAME, DIGEST) == CONTENT
    return machine, storage.operations


@pytest.mark.parametrize("operation", ["append", "commit", "delete_tree"])
async def test_store_that_fails_while_storing_does_not_fail_the_clients(operation, caplog):
    _, operations = await operations_of_a_fetch(fail_at=0)
    number = next(n for n, each in enumerate(operations, 1) if each.startswith(operation))
    machine, _ = await operations_of_a_fetch(fail_at=number)
    is_stored = operation == "delete_tree"
    assert machine.events[FetchEvent.NOT_STORED] == (0 if is_stored else 1)
    assert ("not removed" if is_stored else "not stored") in caplog.text


async def test_store_that_fails_before_the_upstream_does_is_no_warning(machine, gate):
    storage = FaultyBlobStorage(machine.services.storage)
    machine.services = CoreServices(storage=storage, offload=in_turn)
    async with machine.process() as process:
        client = Client(process)
        await quiet()
        storage.fail_at(1)
        await gate.open(2)
        machine.hub.replace_blob("library/alpine", DIGEST, CONTENT[:-1] + b"x")
        await stop_all(process)
        with pytest.raises(StorageUnavailableError):
            await client.task


async def test_end_of_the_process_fails_its_clients_and_keeps_the_bytes(machine, sibling, gate):
    async with machine.process() as process:
        client = Client(process)
        await gate.open(2)
    with pytest.raises(StorageUnavailableError):
        await client.task
    assert machine.memory.blobs[DIGEST].state.filled == 2 * PIECE
    other = Client(sibling)
    await gate.open(10)
    assert other.received == CONTENT
    assert machine.received["docker.io"] == len(CONTENT)


async def test_spool_that_cannot_be_swept_is_only_logged(machine, monkeypatch, caplog):
    spool = InMemorySpool(machine.memory)

    async def sweep(*, unchanged_seconds: float) -> int:
        raise StorageUnavailableError("broken")

    monkeypatch.setattr(spool, "sweep", sweep)
    async with machine.process(spool) as process:
        assert await process.read(NAME, DIGEST) == CONTENT
    assert "cannot clear the spool" in caplog.text


async def test_empty_blob_is_fetched(machine, process):
    digest = machine.hub.add_blob("library/alpine", b"")
    assert await process.read(NAME, digest) == b""
    await quiet()
    assert await machine.services.read_blob(NAME, digest) == b""


@pytest.mark.parametrize(
    "error",
    [
        UpstreamAbsentError("a"),
        UpstreamBusyError("b", retry_after=7),
        UpstreamTimeoutError("c"),
        StorageFullError("d"),
        UpstreamUnavailableError("e"),
    ],
)
def test_failure_keeps_the_class_of_an_error(error):
    kept = error_of(failure_of(error, NAME))
    assert (type(kept), str(kept), vars(kept)) == (type(error), str(error), vars(error))


async def test_blob_that_the_store_lacks_is_not_linked(process):
    assert not await process.store.link(NAME, DIGEST)


async def test_fetch_without_its_task_has_no_bytes(machine, process):
    origin = machine.origins.find(NAME)
    assert origin is not None
    fetch = Fetch(process.tools, NAME, origin, DIGEST)
    fetch.close()
    assert fetch.available(WITHHELD_BYTES) == 0
    with pytest.raises(RuntimeError):
        await fetch.read(0, 1)
