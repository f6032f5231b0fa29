"""Checksums of long bodies: CRC32 where the store verifies it, `Content-MD5` elsewhere."""

import json

import pytest

from adapters.blob_storage.s3 import RetryOptions, S3Options
from adapters.blob_storage.s3.body import Body
from adapters.blob_storage.s3.checksums import Crc32Support
from adapters.blob_storage.s3.options import MIB
from adapters.blob_storage.s3.storage import S3BlobStorage
from core.errors import StorageUnavailableError
from core.model.secret import Secret
from tests.support.limited_s3 import limited_s3
from tests.support.s3_servers import moto_endpoint, stored_in, versitygw_endpoint
from tests.support.streams import commit, payload, read_stream, stage

BUCKET = "checksums"
STAGED = "/r/_uploads/1/data"
RECORD = f"{STAGED}.parts"
CONTENT = payload(17 * MIB)
SHORT = CONTENT[:MIB]


@pytest.fixture(scope="module")
def moto():
    with moto_endpoint(BUCKET) as url:
        yield url


@pytest.fixture(scope="module")
def versitygw(tmp_path_factory, tool):
    with versitygw_endpoint(tool("versitygw"), BUCKET, tmp_path_factory.mktemp("versitygw")) as url:
        yield url


def opened(url, **retry):
    return S3BlobStorage(
        S3Options(
            bucket=BUCKET,
            access_key="key",
            secret_key=Secret("secret"),
            region_endpoint=url,
            chunk_bytes=5 * MIB,
            parts_in_flight=1,
            retry=RetryOptions(**{"attempts": 2, "pause_base_seconds": 0.001} | retry),
        )
    )


async def push(storage, target="/target"):
    await stage(storage, STAGED, CONTENT)
    await commit(storage, STAGED, target)
    assert await read_stream(storage, target) == CONTENT


def checksums_of(server):
    """Return the kinds of checksums of each long body, in the order of arrival."""
    kinds = {"content-md5": "md5", "x-amz-checksum-crc32": "crc32"}
    return [
        "+".join(kind for name, kind in kinds.items() if name in headers)
        for method, headers in server.headers
        if method == "PUT" and int(headers.get("content-length", 0)) > 64 * 1024
    ]


async def test_store_that_verifies_crc32_gets_no_md5_after_the_first_body(versitygw):
    with limited_s3(versitygw, frozenset()) as (url, server):
        async with opened(url) as storage:
            for _ in range(2):
                await push(storage)
                await storage.write("/short", SHORT)
            # Three parts, the record with the tail, the tail as the last part, and the object.
            first = ["md5+crc32", "crc32", "crc32", "md5+crc32", "crc32", "crc32"]
            assert checksums_of(server) == first + ["crc32"] * len(first)
            assert await storage.read("/short") == SHORT
            await storage.delete_tree("/")
            assert await stored_in(storage) == []


@pytest.mark.parametrize("refused", [frozenset(), {"CRC32"}], ids=["ignored", "refused"])
async def test_store_without_crc32_gets_md5(moto, refused):
    with limited_s3(moto, refused) as (url, server):
        async with opened(url) as storage:
            await storage.write("/short", SHORT)
            await push(storage)
            server.headers.clear()
            counted = server.counts["CRC32"]
            await storage.write("/short", SHORT)
            await push(storage)
            assert set(checksums_of(server)) == {"md5"}
            assert server.counts["CRC32"] == counted
            assert await storage.read("/short") == SHORT
            await storage.delete_tree("/")


@pytest.mark.parametrize("proven", [False, True])
async def test_damaged_bodies_are_sent_again(versitygw, proven):
    with limited_s3(versitygw, frozenset()) as (url, server):
        async with opened(url) as storage:
            if proven:
                await push(storage)
                await storage.write("/short", SHORT)
            server.damages = 1
            await push(storage)
            server.damages = 1
            await storage.write("/short", SHORT)
            assert server.damages == 0
            assert await storage.read("/short") == SHORT
            await storage.delete_tree("/")


async def test_body_that_stays_damaged_is_not_stored(versitygw):
    with limited_s3(versitygw, frozenset()) as (url, server):
        async with opened(url, attempts=1) as storage:
            await storage.write("/short", SHORT)
            server.damages = 1
            with pytest.raises(StorageUnavailableError, match="BadDigest"):
                await storage.write("/short", SHORT[::-1])
            assert await storage.read("/short") == SHORT
            await storage.delete_tree("/")


async def test_another_replica_continues_with_the_checksums_of_the_record(versitygw):
    async with opened(versitygw) as first, opened(versitygw) as second:
        await stage(first, STAGED, CONTENT[: 11 * MIB])
        record = await first.read(RECORD, limit=MIB * 2)
        assert len(json.loads(record.partition(b"\n")[0])["crc32"]) == 2
        await stage(second, STAGED, CONTENT[11 * MIB :], resume=True)
        await commit(first, STAGED, "/target")
        assert await read_stream(second, "/target") == CONTENT
        await first.delete_tree("/")


async def test_upload_of_an_earlier_version_is_continued(versitygw):
    """A record without checksums belongs to an upload that was begun without them."""
    with limited_s3(versitygw, frozenset()) as (url, server):
        async with opened(versitygw) as earlier, opened(url) as storage:
            earlier.client.crc32.lacks("upload_part")
            await stage(earlier, STAGED, CONTENT[: 11 * MIB])
            assert b"crc32" not in (await earlier.read(RECORD, limit=MIB * 2)).partition(b"\n")[0]
            await stage(storage, STAGED, CONTENT[11 * MIB :], resume=True)
            await commit(storage, STAGED, "/target")
            assert await read_stream(storage, "/target") == CONTENT
            assert server.counts["CRC32"] == 1  # The record itself is a long body.
            await storage.delete_tree("/")


async def test_answer_without_the_only_checksum_is_an_error():
    support, body = Crc32Support(may_exist=True), Body(SHORT)
    crc32 = await support.of("put_object", body)
    assert not support.suffices("put_object", crc32)
    support.learn("put_object", crc32, {"ChecksumCRC32": crc32}, sufficed=False)
    assert support.suffices("put_object", crc32)
    with pytest.raises(StorageUnavailableError, match="not verified"):
        support.learn("put_object", crc32, {}, sufficed=True)
    assert await support.of("put_object", body) is None
