"""A missing capability of an S3 store is detected once, replaced, and reported."""

import logging

import pytest

from adapters.blob_storage.instrumented import InstrumentedBlobStorage
from adapters.blob_storage.s3 import RetryOptions, S3Options
from adapters.blob_storage.s3.errors import RefusedError
from adapters.blob_storage.s3.options import MIB
from adapters.blob_storage.s3.storage import S3BlobStorage
from core.diagnosis import Verdict
from core.errors import StorageUnavailableError
from core.model.secret import Secret
from tests.support.limited_s3 import limited_s3
from tests.support.s3_servers import moto_endpoint
from tests.support.streams import payload, stage

BUCKET = "limited"


@pytest.fixture(scope="module")
def endpoint():
    with moto_endpoint(BUCKET) as url:
        yield url


def opened(url):
    return S3BlobStorage(
        S3Options(
            bucket=BUCKET,
            access_key="key",
            secret_key=Secret("secret"),
            region_endpoint=url,
            chunk_bytes=5 * MIB,
            parts_in_flight=1,
            multipart_copy_threshold_bytes=5 * MIB,
            multipart_copy_chunk_bytes=5 * MIB,
            retry=RetryOptions(attempts=1),
        )
    )


async def write_pair(storage):
    await storage.write("/tree/a", b"a")
    await storage.write("/tree/b", b"b")


async def keys_of(storage):
    return [key async for key, _ in storage.walk("/tree")]


@pytest.mark.parametrize(
    ("status", "code"),
    [(501, "NotImplemented"), (405, "MethodNotAllowed"), (400, "InvalidArgument"), (412, "PreconditionFailed")],
)
async def test_deletes_are_sent_one_by_one_on_a_store_without_batches(endpoint, caplog, status, code):
    with limited_s3(endpoint, {"DeleteObjects"}, status=status, code=code) as (url, server):
        async with opened(url) as storage:
            for _ in range(2):
                await write_pair(storage)
                await storage.delete(["/tree/a", "/tree/b", "/tree/none"])
                await write_pair(storage)
                await storage.delete_tree("/tree")
                assert await keys_of(storage) == []
            assert server.counts["DeleteObjects"] == 1
            [finding] = await storage.diagnose()
    assert finding.verdict is Verdict.OK
    assert code in finding.detail
    assert "deleting objects one by one" in finding.detail
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1


async def test_batches_carry_a_content_md5(endpoint):
    """Older stores want it, and take no CRC32 for it."""
    with limited_s3(endpoint, {"DeleteObjects without Content-MD5"}, status=400, code="MissingContentMD5") as (
        url,
        server,
    ):
        async with opened(url) as storage:
            await write_pair(storage)
            await storage.delete_tree("/tree")
            assert await keys_of(storage) == []
            assert [finding.detail for finding in await storage.diagnose()] == ["none so far"]
        assert server.counts["DeleteObjects"] == 1
        assert server.counts["DELETE"] == 0


async def test_missing_right_is_not_taken_for_an_unsupported_request(endpoint):
    with limited_s3(endpoint, {"DeleteObjects"}, status=403, code="AccessDenied") as (url, server):
        async with opened(url) as storage:
            await write_pair(storage)
            with pytest.raises(RefusedError, match="rights"):
                await storage.delete_tree("/tree")
            assert len(await keys_of(storage)) == 2
            assert server.counts["DELETE"] == 0


async def test_objects_that_the_store_keeps_are_reported(endpoint):
    with limited_s3(endpoint, {"DeleteObjects", "DELETE"}) as (url, _):
        async with opened(url) as storage:
            await write_pair(storage)
            with pytest.raises(StorageUnavailableError, match="2 not deleted, first tree/"):
                await storage.delete_tree("/tree")


async def test_missing_object_is_deleted_on_a_store_that_answers_404(endpoint):
    """As Google's store does."""
    with limited_s3(endpoint, {"DELETE"}, status=404, code="NoSuchKey") as (url, _):
        async with opened(url) as storage:
            await storage.delete(["/none"])
            async with storage.open_writer("/staged") as writer:
                await writer.write(b"x")
                await writer.discard()


async def test_large_objects_are_copied_in_one_request_without_part_copies(endpoint):
    content = payload(11 * MIB)
    with limited_s3(endpoint, {"UploadPartCopy"}) as (url, server):
        async with opened(url) as storage:
            for _ in range(2):
                await storage.write("/source", content)
                await storage.move("/source", "/target")
                assert await storage.read("/target", limit=len(content)) == content
            asked = server.counts["UploadPartCopy"]
            await storage.move("/target", "/last")
            assert server.counts["UploadPartCopy"] == asked
            [finding] = await storage.diagnose()
            assert finding.check.endswith("UploadPartCopy")


async def test_objects_are_created_once_in_one_process_without_conditional_writes(endpoint):
    with limited_s3(endpoint, {"If-None-Match"}) as (url, server):
        watched = InstrumentedBlobStorage(opened(url), observe=lambda *_: None, clock=lambda: 0.0)
        async with watched as storage:
            assert storage.creates_exclusively
            assert await storage.create("/once", b"first")
            assert not storage.creates_exclusively
            assert not await storage.create("/once", b"second")
            assert await storage.read("/once") == b"first"
            assert server.counts["If-None-Match"] == 1
            await storage.delete(["/once"])


async def test_uploads_are_not_listed_again_after_a_refusal(endpoint):
    with limited_s3(endpoint, {"ListMultipartUploads"}) as (url, server):
        async with opened(url) as storage:
            for _ in range(2):
                await stage(storage, "/_uploads/1/data", payload(11 * MIB))
                await storage.delete_tree("/_uploads/1")
            assert server.counts["ListMultipartUploads"] == 1
