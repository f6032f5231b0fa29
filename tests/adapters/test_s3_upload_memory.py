"""Many uploads at once to an object store: bounded memory, and none that waits for ever."""

import asyncio

import pytest

from adapters.blob_storage.s3 import RetryOptions, S3Options
from adapters.blob_storage.s3.options import MIB
from adapters.blob_storage.s3.part_memory import IDLE_SECONDS
from adapters.blob_storage.s3.storage import S3BlobStorage
from core.model.secret import Secret
from tests.support.s3_servers import moto_endpoint, stored_in
from tests.support.scs_server.faults import Fault
from tests.support.scs_storage import scs_storage
from tests.support.streams import payload, read_stream

BUCKET = "memory"
PART = 5 * MIB


@pytest.fixture(scope="module")
def endpoint():
    with moto_endpoint(BUCKET) as url:
        yield url


def opened(url, **changes):
    return S3BlobStorage(
        S3Options(
            bucket=BUCKET,
            access_key="key",
            secret_key=Secret("secret"),
            region_endpoint=url,
            chunk_bytes=PART,
            parts_in_flight=2,
            retry=RetryOptions(pause_base_seconds=0.001, read_seconds=120),
            **changes,
        )
    )


async def push(storage, number, content, *, piece=MIB, resume=False):
    """Write in two blocks, as two requests do, and commit."""
    half = len(content) // 2
    async with storage.open_writer(f"/staged/{number}", is_first=True) as writer:
        for start in range(0, half, piece):
            await writer.write(content[start : min(start + piece, half)])
    async with storage.open_writer(f"/staged/{number}", resume=True) as writer:
        for start in range(half, len(content), piece):
            await writer.write(content[start : start + piece])
        await writer.commit(f"/blob/{number}")


async def test_fifty_uploads_at_once_stay_within_the_bound(endpoint):
    content = payload(PART + 300_000)
    async with opened(endpoint, upload_memory_bytes=3 * PART) as storage:
        async with asyncio.TaskGroup() as group:
            for number in range(50):
                group.create_task(push(storage, number, content))
        assert storage.upload_memory.used == 0
        assert 2 * PART < storage.upload_memory.used_max <= 4 * PART
        for number in (0, 49):
            assert await read_stream(storage, f"/blob/{number}") == content
        await storage.delete_tree("/staged", "/blob")
        assert await stored_in(storage) == []


async def test_idle_uploads_with_whole_parts_make_room_for_others(endpoint):
    """Their clients pause after two parts, which could be sent in one request together with what follows."""
    content = payload(2 * PART + 1_000)
    has_written, go_on = asyncio.Event(), asyncio.Event()

    async def pause(storage, key):
        async with storage.open_writer(key, is_first=True) as writer:
            await writer.write(content)
            has_written.set()
            await go_on.wait()
            await writer.commit(f"{key}-blob")

    async with opened(endpoint, upload_memory_bytes=2 * PART + 2_000) as storage:
        async with asyncio.TaskGroup() as group:
            group.create_task(pause(storage, "/idle"))
            await has_written.wait()
            await asyncio.sleep(IDLE_SECONDS)
            await push(storage, 1, content)
            go_on.set()
        assert await read_stream(storage, "/idle-blob") == content
        assert storage.upload_memory.used_max <= 3 * PART + 2_000
        await storage.delete_tree("/")
        assert await stored_in(storage) == []


async def test_part_that_failed_is_sent_again_from_memory(server):
    content = payload(4 * PART + 9)
    async with scs_storage(server, parts_in_flight=2, upload_memory_bytes=3 * PART) as storage:
        server.faults.arm("upload_part", *[Fault.ERROR_500] * 3)
        await push(storage, 1, content)
        assert await read_stream(storage, "/blob/1") == content
        assert storage.upload_memory.used == 0


@pytest.mark.parametrize("size", [1_000, PART + 1, 4 * PART])
async def test_failed_and_abandoned_uploads_free_their_memory(server, size):
    async with scs_storage(server, parts_in_flight=2, upload_memory_bytes=3 * PART) as storage:

        async def break_off():
            async with storage.open_writer("/staged/1", is_first=True) as writer:
                await writer.write(payload(size))
                raise ConnectionError

        with pytest.raises(ConnectionError):
            await break_off()
        assert storage.upload_memory.used == 0
        async with storage.open_writer("/staged/1", resume=True) as writer:
            assert writer.size == size
            await writer.discard()
        assert storage.upload_memory.used == 0


async def test_cancelled_uploads_free_their_memory(endpoint):
    content = payload(4 * PART)
    async with opened(endpoint, upload_memory_bytes=2 * PART) as storage:
        tasks = [asyncio.create_task(push(storage, number, content)) for number in range(5)]
        for _ in range(3):
            await asyncio.sleep(0)
        assert storage.upload_memory.used == 2 * PART
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)
        assert storage.upload_memory.used == 0
        await storage.delete_tree("/")


async def append_in_turns(writer, content, *, is_known):
    """Append as a thread does for a client, whose head told the length or not."""
    while content:
        room = await writer.make_room(len(content)) if is_known else await writer.make_room()
        writer.append_now(memoryview(content)[:room])
        content = content[room:]


@pytest.mark.parametrize("is_known", [True, False])
async def test_content_that_fits_is_sent_in_one_request(server, is_known):
    content = payload(3 * PART - 1)
    async with scs_storage(server, parts_in_flight=2) as storage:
        async with storage.open_writer("/staged/1", is_first=True) as writer:
            await append_in_turns(writer, content, is_known=is_known)
            await writer.commit("/blob/1")
        assert server.counts == {"put_object": 1}
        assert await read_stream(storage, "/blob/1") == content


@pytest.mark.parametrize(("is_known", "begun"), [(True, 1), (False, 0)])
async def test_content_that_cannot_fit_is_sent_from_the_first_part(server, is_known, begun):
    """If the head told that the content is long, there is no reason to fill the memory first."""
    content = payload(4 * PART)
    async with scs_storage(server, parts_in_flight=2) as storage:
        async with storage.open_writer("/staged/1", is_first=True) as writer:
            for start in (0, PART):
                room = await (writer.make_room(len(content) - start) if is_known else writer.make_room())
                assert room == PART
                writer.append_now(memoryview(content)[start : start + PART])
            assert server.counts["create_upload"] == begun
            await append_in_turns(writer, content[2 * PART :], is_known=is_known)
            await writer.commit("/blob/1")
        assert await read_stream(storage, "/blob/1") == content
