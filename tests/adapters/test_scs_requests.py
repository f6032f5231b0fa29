"""Requests of each SCS operation, counted by the endpoint. A higher number makes every push or pull slower."""

import asyncio

import pytest

from adapters.blob_storage.s3.options import MIB
from core.errors import ObjectNotFoundError
from tests.support.scs_server.store import Segment, StoredObject
from tests.support.scs_storage import scs_storage
from tests.support.streams import collect, payload, read_stream, stage

STORED = StoredObject([Segment(b"sha256:abcd", 11)], "0" * 32, "application/octet-stream")
STAGED = "/docker/registry/v2/repositories/a/_uploads/1/data"
TARGET = "/docker/registry/v2/blobs/sha256/ab/abcd/data"


@pytest.fixture
async def shipped(server):
    """With part sizes as they ship."""
    async with scs_storage(server, chunk_bytes=10 * MIB, parts_in_flight=3) as storage:
        yield storage


async def test_small_objects_take_one_request_each(server, storage):
    await storage.write("/a", b"content")
    await storage.read("/a")
    await storage.stat("/a")
    await read_stream(storage, "/a", offset=2, length=3)
    with pytest.raises(ObjectNotFoundError):
        await storage.read("/missing")
    await storage.delete(["/a"])
    await storage.check()
    await storage.redirect_url("/a", method="GET")
    assert server.counts == {"put_object": 1, "get_object": 3, "head_object": 1, "delete_object": 1, "list_objects": 1}


async def test_object_in_one_block_takes_one_request(server, storage):
    async with storage.open_writer(STAGED) as writer:
        await writer.write(payload(15 * MIB))
        await writer.commit(TARGET)
    assert server.counts == {"put_object": 1}


async def test_small_object_in_two_requests_takes_three(server, storage):
    """PATCH: one. PUT: one that brings the bytes, one that commits them."""
    await stage(storage, STAGED, b"layer")
    assert server.counts == {"put_object": 1}
    async with storage.open_writer(STAGED, resume=True) as writer:
        await writer.commit(TARGET)
    assert server.counts == {"put_object": 2, "get_object": 1}


async def test_blob_of_32_mib_takes_four(server, shipped):
    """PATCH: one. PUT: one to find it, the rename, and one look whether it arrived; the first time two."""
    content = payload(32 * MIB)
    for turn, heads in enumerate((3, 2)):
        server.log.clear()
        await stage(shipped, STAGED, *(content[start : start + MIB] for start in range(0, len(content), MIB)))
        async with shipped.open_writer(STAGED, resume=True) as writer:
            assert writer.size == len(content)
            await writer.commit(f"{TARGET}{turn}")
        assert server.counts == {"put_object": 1, "rename_object": 1, "head_object": heads}
        assert server.content(f"{TARGET}{turn}"[1:]) == content


async def test_whole_push_of_32_mib_takes_ten_at_most(server, shipped):
    await shipped.write("/docker/registry/v2/repositories/a/_uploads/1/startedat", b"2026-11-24T00:00:00Z")
    await stage(shipped, STAGED, payload(32 * MIB))
    async with shipped.open_writer(STAGED, resume=True) as writer:
        await writer.commit(TARGET)
    await shipped.write("/docker/registry/v2/repositories/a/_layers/sha256/abcd/link", b"sha256:abcd")
    await shipped.delete_tree("/docker/registry/v2/repositories/a/_uploads/1")
    assert len(server.log) == 9
    assert server.leftovers() == [
        "docker/registry/v2/blobs/sha256/ab/abcd/data",
        "docker/registry/v2/repositories/a/_layers/sha256/abcd/link",
    ]


async def test_long_upload_takes_parts_and_few_more(server, storage):
    content = payload(33 * MIB)
    async with storage.open_writer(STAGED) as writer:
        await writer.write(content)
        await writer.commit(TARGET)
    assert server.counts == {
        "get_object": 1,  # whether a killed process left a record
        "put_object": 1,  # the record that announces an upload
        "create_upload": 1,
        "upload_part": 7,
        "complete_upload": 1,
        "delete_object": 1,  # the record
        "rename_object": 1,
        "head_object": 2,
    }
    assert server.content(TARGET[1:]) == content


async def test_sessions_of_a_push_are_removed_in_two(server, storage):
    uploads = "/docker/registry/v2/repositories/a/_uploads"
    for number in range(4):
        await storage.write(f"{uploads}/{number}/startedat", b"now")
        await stage(storage, f"{uploads}/{number}/data", b"layer")
        async with storage.open_writer(f"{uploads}/{number}/data", resume=True) as writer:
            await writer.commit(f"{TARGET}{number}")
    server.log.clear()
    await storage.delete_tree(*(f"{uploads}/{number}" for number in range(4)))
    assert server.counts == {"list_objects": 1, "delete_objects": 1}
    assert len(server.leftovers()) == 4


async def test_listing_takes_a_request_per_thousand_names(server, storage):
    for number in range(2_500):
        server.buckets["images"].put(f"p/n{number}/_layers/link", STORED)
    assert len(await collect(storage.list_children("/p"))) == 2_500
    assert len(await collect(storage.list_marked("/p", "_"))) == 2_500
    assert len(await collect(storage.walk("/p"))) == 2_500
    assert server.counts == {"list_objects": 9}


async def test_tags_of_one_manifest_are_removed_in_three(server, storage):
    tags = "/docker/registry/v2/repositories/a/_manifests/tags"
    for number in range(51):
        for name in ("current/link", "index/sha256/abcd/link"):
            server.buckets["images"].put(f"{tags[1:]}/v1.{number}/{name}", STORED)
    server.buckets["images"].put(f"{tags[1:]}/v1/current/link", STORED)
    await storage.delete_tree(*(f"{tags}/v1.{number}" for number in range(51)))
    assert server.counts == {"list_objects": 1, "delete_objects": 1}
    assert server.objects() == [f"{tags[1:]}/v1/current/link"]


async def test_connections_are_kept_and_bounded(server):
    async with scs_storage(server, connections_max=4) as storage:
        async with asyncio.TaskGroup() as tasks:
            for number in range(40):
                tasks.create_task(storage.write(f"/{number}", b"content"))
        for number in range(40):
            await storage.read(f"/{number}")
    assert server.connections <= 4
