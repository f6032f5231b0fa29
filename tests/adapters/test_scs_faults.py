"""A store that fails, resets, is slow, cuts bodies and loses answers: retried, bounded, never torn."""

import asyncio
import time

import pytest

from adapters.blob_storage.s3 import RetryOptions
from adapters.blob_storage.s3.options import MIB
from core.errors import ObjectNotFoundError, StorageUnavailableError
from tests.support.scs_server import Faults
from tests.support.scs_server.faults import Fault
from tests.support.scs_server.store import Segment, StoredObject
from tests.support.scs_storage import QUICK, scs_storage
from tests.support.streams import collect, commit, payload, read_stream, stage

# Other tests run the same lines; measuring coverage here would double the time of this file.
pytestmark = pytest.mark.unmeasured

STAGED = "/docker/registry/v2/repositories/a/_uploads/1/data"
TARGET = "/docker/registry/v2/blobs/sha256/ab/abcd/data"
STORED = StoredObject([Segment(b"link", 4)], "0" * 32, "application/octet-stream")
EVERY_FAULT = tuple(fault for fault in Fault if fault is not Fault.NONE)


@pytest.mark.parametrize("seed", range(6))
async def test_one_request_in_seven_fails(server, storage, seed):
    """A push, a pull and a deletion through a bad store: all arrives whole, and nothing is left."""
    server.faults = Faults(seed=seed, rate=1 / 7)
    small, long = payload(70_000, seed), payload(33 * MIB, seed)
    await stage(storage, STAGED, long[: 17 * MIB])
    await stage(storage, STAGED, long[17 * MIB :], resume=True)
    await commit(storage, STAGED, TARGET)
    await stage(storage, "/u/_uploads/2/data", small)
    await commit(storage, "/u/_uploads/2/data", f"{TARGET}2")
    links = [f"/links/{number}/link" for number in range(20)]
    for link in links:
        await storage.write(link, link.encode())
    assert await read_stream(storage, TARGET) == long
    assert await storage.read(f"{TARGET}2") == small
    assert [await storage.read(link) for link in links] == [link.encode() for link in links]
    assert len(await collect(storage.list_children("/links"))) == 20
    await storage.delete_tree("/links", "/u", "/docker")
    server.faults = Faults()
    await storage.delete_tree("/docker")
    assert server.leftovers() == []


@pytest.mark.parametrize("fault", EVERY_FAULT)
@pytest.mark.parametrize(
    "operation", ["create_upload", "upload_part", "complete_upload", "put_object", "rename_object", "head_object"]
)
async def test_fault_of_each_step_of_upload_is_survived(server, storage, operation, fault):
    content = payload(17 * MIB)
    server.faults.arm(operation, fault)
    async with storage.open_writer(STAGED) as writer:
        await writer.write(content)
        await writer.commit(TARGET)
    assert server.content(TARGET[1:]) == content
    assert server.leftovers() == [TARGET[1:]]


@pytest.mark.parametrize("operation", ["list_objects", "delete_objects", "list_uploads", "abort_upload"])
@pytest.mark.parametrize("fault", EVERY_FAULT)
async def test_fault_of_each_step_of_removal_is_survived(server, storage, operation, fault):
    await storage.write("/docker/registry/v2/repositories/a/_uploads/1/startedat", b"now")
    async with scs_storage(server) as other:
        await stage(other, STAGED, payload(17 * MIB))
    server.faults.arm(operation, fault)
    await storage.delete_tree("/docker/registry/v2/repositories/a/_uploads/1")
    assert server.leftovers() == []


async def test_cut_body_is_resumed(server, storage):
    content = payload(3 * MIB)
    await storage.write("/object", content)
    server.log.clear()
    server.faults.arm("get_object", Fault.CUT_BODY, Fault.CUT_BODY, Fault.RESET_BEFORE)
    assert await read_stream(storage, "/object", offset=5) == content[5:]
    assert server.counts["get_object"] == 4


async def test_body_that_is_always_cut_is_an_error(server, storage):
    await storage.write("/object", payload(3 * MIB))
    server.faults = Faults(rate=1, kinds=(Fault.CUT_BODY,))
    with pytest.raises(StorageUnavailableError, match="broke off"):
        await read_stream(storage, "/object")
    assert server.counts["get_object"] == QUICK.attempts


@pytest.mark.parametrize("change", ["replaced", "removed"])
async def test_object_that_changes_under_reader_is_an_error(server, storage, change):
    await storage.write("/object", payload(3 * MIB))
    server.faults.arm("get_object", Fault.CUT_BODY)
    async with storage.open_reader("/object") as reader:
        if change == "replaced":
            await storage.write("/object", payload(3 * MIB, seed=2))
        else:
            await storage.delete(["/object"])
        with pytest.raises(StorageUnavailableError, match=change):
            async for _ in reader:
                pass


async def test_store_that_is_down_is_unavailable(server, storage):
    server.faults = Faults(rate=1, kinds=(Fault.ERROR_503,))
    for act in (storage.read("/a"), storage.write("/a", b""), storage.check(), storage.delete_tree("/a")):
        with pytest.raises(StorageUnavailableError, match="SlowDown"):
            await act
    assert server.counts == {"get_object": 8, "put_object": 8, "list_objects": 9}


async def test_fault_of_head_without_body_is_unavailable(server, storage):
    server.faults = Faults(rate=1, kinds=(Fault.ERROR_500,))
    with pytest.raises(StorageUnavailableError, match="500"):
        await storage.stat("/a")


async def test_retries_end_in_time(server):
    retry = RetryOptions(attempts=1_000, budget_seconds=0.5, pause_base_seconds=0.01, pause_seconds_max=0.05)
    async with scs_storage(server, retry=retry) as storage:
        server.faults = Faults(rate=1, kinds=(Fault.ERROR_500, Fault.RESET_BEFORE))
        with pytest.raises(StorageUnavailableError):
            await storage.write("/a", b"content")
        assert 1 < server.counts["put_object"] < retry.attempts / 2


async def test_silent_store_times_out(server):
    retry = RetryOptions(attempts=2, pause_base_seconds=0.01, connect_seconds=0.2, read_seconds=0.2)
    async with scs_storage(server, retry=retry) as storage:
        server.faults = Faults(rate=1, kinds=(Fault.SLOW,), slow_seconds=30)
        started = time.monotonic()
        with pytest.raises(StorageUnavailableError, match="cannot reach the store"):
            await storage.read("/a")
        assert time.monotonic() - started < server.faults.slow_seconds


async def test_unreachable_store_is_unavailable(server, storage):
    await server.__aexit__(None, None, None)
    with pytest.raises(StorageUnavailableError, match="cannot reach the store"):
        await storage.read("/a")


async def test_failed_commit_can_be_repeated(server, storage):
    content = payload(17 * MIB)
    async with storage.open_writer(STAGED) as writer:
        await writer.write(content)
        server.faults.arm("complete_upload", *[Fault.ERROR_500] * 8)
        with pytest.raises(StorageUnavailableError):
            await writer.commit(TARGET)
    assert TARGET[1:] not in server.objects()
    await commit(storage, STAGED, TARGET)
    assert server.content(TARGET[1:]) == content
    assert server.leftovers() == [TARGET[1:]]


async def test_failed_small_commit_keeps_bytes(server, storage):
    async with storage.open_writer(STAGED) as writer:
        await writer.write(b"abc")
        server.faults.arm("put_object", *[Fault.ERROR_500] * 8)
        with pytest.raises(StorageUnavailableError):
            await writer.commit(TARGET)
    await commit(storage, STAGED, TARGET)
    assert await storage.read(TARGET) == b"abc"


async def test_permanently_failing_part_keeps_earlier_parts(server, storage):
    content = payload(32 * MIB)
    await stage(storage, STAGED, content[: 17 * MIB])
    server.faults.arm("upload_part", *[Fault.ERROR_500] * 64)
    with pytest.raises(StorageUnavailableError):
        await stage(storage, STAGED, content[17 * MIB :], resume=True)
    kept = await storage.staged_size(STAGED)
    assert kept == 15 * MIB
    server.faults.armed.clear()
    await stage(storage, STAGED, content[kept:], resume=True)
    await commit(storage, STAGED, TARGET)
    assert server.content(TARGET[1:]) == content


@pytest.mark.parametrize(("error", "told"), [(None, StorageUnavailableError), (LookupError, LookupError)])
async def test_block_that_ends_while_the_store_is_down_raises(server, storage, error, told):
    """An error of the block itself is not hidden by that of the store."""

    async def upload() -> None:
        async with storage.open_writer(STAGED) as writer:
            await writer.write(b"abc")
            server.faults = Faults(rate=1, kinds=(Fault.ERROR_500,))
            if error is not None:
                raise error

    with pytest.raises(told):
        await upload()


@pytest.mark.parametrize("delay", [0, 0.005, 0.02, 0.05, 0.1])
async def test_cancelled_upload_keeps_a_beginning(server, storage, delay):
    content = payload(30 * MIB)
    task = asyncio.create_task(stage(storage, STAGED, content))
    await asyncio.sleep(delay)
    task.cancel()
    await asyncio.wait([task])
    async with storage.open_writer(STAGED, resume=True) as writer:
        kept = writer.size
        await writer.write(content[kept:])
        await writer.commit(TARGET)
    assert server.content(TARGET[1:]) == content
    assert server.leftovers() == [TARGET[1:]]


async def test_transient_error_of_a_key_is_retried(server, storage):
    """A batch answers 200 for a key that met a passing fault."""
    keys = [f"/p/{number}" for number in range(5)]
    for key in keys:
        await storage.write(key, b"")
    server.flaky.update(key[1:] for key in keys[:3])
    await storage.delete(keys)
    assert server.leftovers() == []
    assert server.counts["delete_objects"] == 2


async def test_key_that_another_process_deleted_meanwhile_is_no_error(server, storage):
    await storage.write("/p/1", b"")
    server.reported_absent.add("p/2")
    server.flaky.add("p/1")
    await storage.delete(["/p/1", "/p/2"])
    assert server.leftovers() == []


async def test_key_that_the_store_keeps_is_reported_and_others_are_deleted(server, storage):
    keys = [f"/p/{number}" for number in range(1_500)]
    for key in keys:
        server.buckets["images"].put(key[1:], STORED)
    server.undeletable.add("p/3")
    with pytest.raises(StorageUnavailableError, match=r"p/3 \(AccessDenied\)"):
        await storage.delete(keys)
    assert server.objects() == ["p/3"]
    with pytest.raises(StorageUnavailableError, match="AccessDenied"):
        await storage.delete(["/p/3"])


async def test_missing_object_is_not_requested_again(server, storage):
    with pytest.raises(ObjectNotFoundError):
        await storage.read("/missing")
    assert server.counts == {"get_object": 1}
