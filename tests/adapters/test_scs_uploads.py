"""Uploads that are longer than a part or continue on another replica leave nothing behind."""

import asyncio
import json
import tracemalloc
from itertools import pairwise

import pytest

from adapters.blob_storage.s3.moving import Mover
from adapters.blob_storage.s3.options import MIB
from core.errors import ObjectNotFoundError, StorageCorruptError, StorageUnavailableError
from tests.support.scs_server import Rename
from tests.support.scs_server.faults import Fault
from tests.support.scs_server.store import Segment, StoredObject
from tests.support.scs_storage import scs_storage
from tests.support.streams import commit, payload, read_stream, stage

# Other tests run the same lines; measuring coverage here would double the time of this file.
pytestmark = pytest.mark.unmeasured

SESSION = "/docker/registry/v2/repositories/a/_uploads/1"
STAGED = f"{SESSION}/data"
TARGET = "/docker/registry/v2/blobs/sha256/ab/abcd/data"


@pytest.fixture
async def other(server):
    async with scs_storage(server) as storage:
        yield storage


def put_plainly(server, key: str, content: bytes) -> None:
    """As another registry left it."""
    server.buckets["images"].put(key[1:], StoredObject([Segment(content, len(content))], "0" * 32, "x"))


CUTS = {
    "one block": [0, 33 * MIB],
    "long, then long": [0, 16 * MIB, 33 * MIB],
    "long, then a byte": [0, 33 * MIB - 1, 33 * MIB],
    "plain of more than a part, then more": [0, 12 * MIB, 33 * MIB],
    "small ones, then long": [0, 1, 2, MIB, 33 * MIB],
    "exactly parts": [0, 5 * MIB, 10 * MIB, 15 * MIB],
    "exactly what is held": [0, 15 * MIB, 30 * MIB],
    "odd ones": [0, 3 * MIB, 7 * MIB, 7 * MIB + 1, 16 * MIB, 18 * MIB, 31 * MIB, 31 * MIB + 5],
}


@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS)
async def test_blocks_join_across_replicas(server, storage, other, cuts):
    content = payload(cuts[-1])
    replicas = [storage, other]
    for number, (start, end) in enumerate(pairwise(cuts)):
        replica = replicas[number % 2]
        assert await replica.staged_size(STAGED) == start
        assert await stage(replica, STAGED, content[start:end], resume=True) == end
    await commit(replicas[len(cuts) % 2], STAGED, TARGET)
    assert server.content(TARGET[1:]) == content
    assert server.leftovers() == [TARGET[1:]]


@pytest.mark.parametrize("size", [12 * MIB, 17 * MIB, 22 * MIB])
async def test_content_is_read_before_commit(server, storage, other, size):
    content = payload(size)
    await stage(storage, STAGED, content[: size - 7])
    async with other.open_writer(STAGED, resume=True) as writer:
        await writer.write(content[size - 7 :])
        assert b"".join([piece async for piece in writer.content()]) == content
        await writer.commit(TARGET)
    assert server.content(TARGET[1:]) == content
    assert server.leftovers() == [TARGET[1:]]


async def test_content_without_commit_is_kept(server, storage, other):
    """A wrong digest: the session stays, complete, and can still be committed or go on."""
    content = payload(22 * MIB)
    async with storage.open_writer(STAGED) as writer:
        await writer.write(content)
        assert b"".join([piece async for piece in writer.content()]) == content
    assert await stage(other, STAGED, b"more", resume=True) == len(content) + 4
    await commit(storage, STAGED, TARGET)
    assert server.content(TARGET[1:]) == content + b"more"
    assert server.leftovers() == [TARGET[1:]]


async def test_many_small_pieces_are_rarely_sent_twice(server, storage):
    """Forty pieces of half a MiB: beside the bytes themselves, less than a part for each piece is sent."""
    piece = payload(MIB // 2)
    for number in range(40):
        assert await stage(storage, STAGED, piece, resume=True) == (number + 1) * len(piece)
    parts = server.counts["upload_part"]
    await commit(storage, STAGED, TARGET)
    assert parts == 4
    assert server.content(TARGET[1:]) == piece * 40


@pytest.mark.parametrize("size", [100, 12 * MIB])
async def test_upload_of_another_registry_is_resumed(server, storage, size):
    content = payload(size)
    put_plainly(server, STAGED, content)
    assert await stage(storage, STAGED, b"more", resume=True) == size + 4
    await commit(storage, STAGED, TARGET)
    assert server.content(TARGET[1:]) == content + b"more"


async def stage_and_be_killed(server, storage, content, *, resume=False):
    """Stage content through a process that does not reach the store again after its last piece, as if killed."""

    async def send():
        async with storage.open_writer(STAGED, resume=resume) as writer:
            await writer.write(content)
            server.faults.rate, server.faults.kinds = 1.0, (Fault.ERROR_500,)

    with pytest.raises(StorageUnavailableError):
        await send()
    server.faults.rate = 0.0


async def test_upload_of_a_killed_process_is_resumed_from_its_last_record(server, storage):
    """Bytes that a killed process sent after its last record are sent again, and none of them stays."""
    content = payload(26 * MIB)
    await stage(storage, STAGED, content[: 17 * MIB])
    async with scs_storage(server) as killed:
        await stage_and_be_killed(server, killed, payload(8 * MIB, seed=9), resume=True)
    assert await storage.staged_size(STAGED) == 17 * MIB
    await stage(storage, STAGED, content[17 * MIB :], resume=True)
    await commit(storage, STAGED, TARGET)
    assert server.content(TARGET[1:]) == content
    assert server.leftovers() == [TARGET[1:]]


async def test_upload_killed_before_first_record_is_found(server, storage):
    await stage_and_be_killed(server, storage, payload(16 * MIB))
    assert len(server.leftovers()) == 2
    assert await storage.staged_size(STAGED) == 0
    await stage(storage, STAGED, payload(16 * MIB, seed=2))
    await commit(storage, STAGED, TARGET)
    assert server.content(TARGET[1:]) == payload(16 * MIB, seed=2)
    assert server.leftovers() == [TARGET[1:]]


async def test_tree_of_killed_upload_is_removed_whole(server, storage, other):
    await storage.write(f"{SESSION}/startedat", b"now")
    await stage_and_be_killed(server, storage, payload(16 * MIB))
    await other.delete_tree(SESSION)
    assert server.leftovers() == []


@pytest.mark.parametrize("prefix", [SESSION, STAGED, "/docker", "/"])
async def test_tree_with_parts_is_removed_whole(server, storage, other, prefix):
    await stage(storage, STAGED, payload(17 * MIB))
    await stage(storage, "/docker/registry/v2/repositories/a/_uploads/10/data", b"stays")
    await other.delete_tree(prefix)
    beside = ["docker/registry/v2/repositories/a/_uploads/10/data"]
    assert server.leftovers() == (beside if prefix.startswith(SESSION) else [])


@pytest.mark.parametrize("act", ["discard", "commit", "remove"])
async def test_store_that_lists_no_uploads_is_left_clean(server, storage, other, act):
    """The protocol names no listing of uploads, so the record alone must do."""
    server.lists_uploads = False
    await stage(storage, STAGED, payload(17 * MIB))
    if act == "remove":
        await other.delete_tree(SESSION)
    else:
        async with other.open_writer(STAGED, resume=True) as writer:
            await writer.write(b"more")
            await (writer.discard() if act == "discard" else writer.commit(TARGET))
    assert server.leftovers() == ([TARGET[1:]] if act == "commit" else [])


async def test_upload_that_distribution_left_open_is_removed(server, storage):
    """It stages in a multipart upload too, and keeps no record."""
    await storage.write(f"{SESSION}/startedat", b"now")
    server.buckets["images"].begin_upload(STAGED[1:], "x")
    server.buckets["images"].begin_upload(f"{TARGET[1:]}", "x")
    await storage.delete_tree(SESSION)
    assert server.leftovers() == [f"upload of {TARGET[1:]}"]


@pytest.mark.parametrize("size", [3, 12 * MIB, 22 * MIB])
async def test_discard_leaves_nothing(server, storage, size):
    await stage(storage, STAGED, payload(size))
    async with storage.open_writer(STAGED, resume=True) as writer:
        await writer.write(b"more")
        await writer.discard()
        await writer.discard()
    assert server.leftovers() == []


async def test_finished_writer_takes_no_bytes(storage):
    async with storage.open_writer(STAGED) as writer:
        await writer.commit(TARGET)
        with pytest.raises(RuntimeError):
            await writer.write(b"late")
        with pytest.raises(RuntimeError):
            await writer.commit(TARGET)


async def test_damaged_record_is_an_error(server, storage):
    put_plainly(server, f"{STAGED}.parts", b'{"upload": 1}\n')
    with pytest.raises(StorageCorruptError):
        await storage.staged_size(STAGED)
    put_plainly(server, f"{STAGED}.parts", json.dumps({"upload": "1", "etags": [], "size": 0}).encode())
    with pytest.raises(StorageCorruptError):
        await storage.staged_size(STAGED)


async def test_error_of_too_many_parts_names_the_setting(server, storage, monkeypatch):
    monkeypatch.setattr("adapters.blob_storage.s3.uploading.PARTS_MAX", 2)
    with pytest.raises(StorageUnavailableError, match=r"storage\.scs\.chunksize"):
        await stage(storage, STAGED, payload(32 * MIB))


async def test_parts_are_sent_in_parallel_during_the_upload(server, storage):
    async with storage.open_writer(STAGED) as writer:
        for _ in range(7):
            await writer.write(bytes(5 * MIB))
        assert server.counts["upload_part"] >= 4
        await writer.discard()


async def test_memory_is_bounded_by_parts(server, storage):
    """200 MiB through parts of 5 MiB, two on their way: the server's share included, far below the upload."""
    piece = payload(MIB)
    tracemalloc.start()
    try:
        async with storage.open_writer(STAGED) as writer:
            for _ in range(200):
                await writer.write(piece)
            await writer.commit(TARGET)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 32 * MIB
    assert (await storage.stat(TARGET)).size == 200 * MIB


async def test_long_object_is_read_in_bounded_memory(server, storage):
    async with storage.open_writer(STAGED) as writer:
        for _ in range(64):
            await writer.write(bytes(MIB))
        await writer.commit(TARGET)
    tracemalloc.start()
    try:
        async with storage.open_reader(TARGET) as reader:
            total = 0
            async for piece in reader:
                total += len(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total == 64 * MIB
    assert peak < 16 * MIB


async def test_rename_treated_as_a_write_is_detected(server, storage):
    """The store treats a rename as a write: the push fails with an error, and the next one copies and deletes."""
    server.rename = Rename.WRITES
    await stage(storage, STAGED, payload(12 * MIB))
    async with storage.open_writer(STAGED, resume=True) as writer:
        with pytest.raises(StorageUnavailableError, match="rename"):
            await writer.commit(TARGET)
    assert TARGET[1:] not in server.objects()
    content = payload(12 * MIB, seed=2)
    await stage(storage, STAGED, content)
    await commit(storage, STAGED, TARGET)
    assert server.counts["copy_object"] == 1
    assert server.content(TARGET[1:]) == content
    assert server.leftovers() == [TARGET[1:]]


@pytest.mark.parametrize("rename", [Rename.IGNORES, Rename.REFUSES])
async def test_store_without_rename_copies(server, storage, rename):
    """It is asked once, and no more."""
    server.rename = rename
    for turn in range(2):
        content = payload(12 * MIB, seed=turn)
        await stage(storage, STAGED, content)
        await commit(storage, STAGED, TARGET)
        assert server.content(TARGET[1:]) == content
    assert server.leftovers() == [TARGET[1:]]
    assert (server.counts["rename_object"], server.counts["copy_object"]) == (1, 2)


async def test_rename_of_a_missing_object_is_an_error(server, storage):
    await storage.write("/a", b"content")
    with pytest.raises(ObjectNotFoundError):
        await Mover(storage.client).move("/missing", "/b", 7)
    assert server.leftovers() == ["a"]


async def test_short_copy_is_an_error(server, storage):
    await storage.write("/a", b"content")
    with pytest.raises(StorageUnavailableError, match="has the wrong size"):
        await Mover(storage.client).copy("/a", "/b", 8)


async def test_upload_that_cannot_start_leaves_nothing(server, storage):
    server.faults.arm("create_upload", *[Fault.ERROR_500] * 8)
    async with storage.open_writer(STAGED) as writer:
        with pytest.raises(StorageUnavailableError):
            await writer.write(payload(16 * MIB))
        await writer.discard()
    assert server.leftovers() == []


async def test_upload_begun_by_cancelled_block_is_removed_with_session(server, storage):
    server.faults.slow_seconds = 0.2
    server.faults.arm("create_upload", Fault.SLOW)
    task = asyncio.create_task(stage(storage, STAGED, payload(16 * MIB)))
    announced = asyncio.Event()
    server.on_log = lambda entry: announced.set() if entry.operation == "put_object" else None
    await announced.wait()
    # Now the upload is being begun, which takes the store a while.
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(0.3)
    assert await storage.staged_size(STAGED) == 15 * MIB
    await commit(storage, STAGED, TARGET)
    await storage.delete_tree(SESSION)
    assert server.leftovers() == [TARGET[1:]]


async def test_failed_reading_back_keeps_object(server, storage):
    content = payload(12 * MIB)
    put_plainly(server, STAGED, content)
    server.faults.arm("get_object", Fault.NONE, *[Fault.CUT_BODY] * 16)
    with pytest.raises(StorageUnavailableError):
        await stage(storage, STAGED, b"more", resume=True)
    assert server.leftovers() == [STAGED[1:]]
    server.faults.armed.clear()
    await stage(storage, STAGED, b"more", resume=True)
    await commit(storage, STAGED, TARGET)
    assert server.content(TARGET[1:]) == content + b"more"
    assert server.leftovers() == [TARGET[1:]]


async def test_moved_object_keeps_bytes(server, storage):
    await storage.write("/a/b", b"content")
    await storage.move("/a/b", "/c/d")
    assert await read_stream(storage, "/c/d") == b"content"
    assert server.leftovers() == ["c/d"]
