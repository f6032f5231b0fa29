"""Unfinished uploads of other processes on a real S3 server; the contract of storage runs on it too."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from adapters.blob_storage.s3 import S3Options
from adapters.blob_storage.s3.storage import S3BlobStorage
from core.model.secret import Secret
from tests.support.s3_servers import stored_in, versitygw_endpoint

pytestmark = pytest.mark.e2e

BUCKET = "uploads"


@pytest.fixture
async def storage(tool: Callable[[str], str], tmp_path: Path) -> AsyncIterator[S3BlobStorage]:
    with versitygw_endpoint(tool("versitygw"), BUCKET, tmp_path) as url:
        options = S3Options(bucket=BUCKET, access_key="key", secret_key=Secret("secret"), region_endpoint=url)
        async with S3BlobStorage(options) as storage:
            yield storage


async def test_unfinished_uploads_of_others_are_found_and_dropped(storage: S3BlobStorage) -> None:
    """Begun by a process that was killed before it wrote a record."""
    key = "/docker/registry/v2/blobs/sha256/ab/abcd/data"
    await storage.write("/time", b"")
    now = (await storage.stat("/time")).modified_at
    await storage.client.call("create_multipart_upload", key=key)
    hour = timedelta(hours=1)
    drop = partial(storage.drop_unfinished, is_spared=lambda _key: False)
    assert await drop("/docker", before=now - hour) == []
    assert await drop("/elsewhere", before=now + hour) == []
    assert await drop("/docker", before=now + hour, dry_run=True) == [key]
    assert await drop("/docker", before=now + hour) == [key]
    assert await drop("/docker", before=now + hour) == []
    await storage.delete_tree("/")
    assert await stored_in(storage) == []
