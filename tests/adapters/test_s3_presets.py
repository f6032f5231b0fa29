"""The presets for Google's, Aliyun's and OpenStack's stores, each on an emulation of what the store lacks.

The real services cannot be reached from here.
"""

import socket
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime

import pytest
from aiohttp import ClientSession

from adapters.blob_storage.s3 import RetryOptions
from adapters.blob_storage.s3.multipart import begin_upload
from adapters.blob_storage.s3.options import MIB
from adapters.blob_storage.s3.presets import GcsOptions, OssOptions, SwiftOptions
from adapters.blob_storage.s3.presets.dialects import GCS, OSS, SWIFT
from adapters.blob_storage.s3.storage import S3BlobStorage
from core.errors import RangeInvalidError
from core.model.secret import Secret
from tests.support.preset_stores import AliyunStore, GoogleStore, OpenStackStore, preset_store
from tests.support.s3_servers import moto_endpoint, stored_in
from tests.support.streams import payload, stage

BUCKET = "presets"
"""All servers of moto in a process share their buckets."""
OSS_HOST = "s3.oss-cn-hangzhou.aliyuncs.com"
RETRY = RetryOptions(attempts=1)
LARGE = payload(11 * MIB)


@pytest.fixture(scope="module")
def upstream():
    with moto_endpoint(BUCKET) as url:
        yield url


@pytest.fixture(autouse=True)
def names_of_oss(monkeypatch):
    """Resolve the hosts of Aliyun to this machine."""
    resolve = socket.getaddrinfo

    def here(host, *arguments, **options):
        is_aliyun = isinstance(host, str) and host.endswith(OSS_HOST)
        return resolve("127.0.0.1" if is_aliyun else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", here)


def gcs(port):
    options = GcsOptions(
        bucket=BUCKET,
        access_key="GOOG1E",
        secret_key=Secret("s"),
        root_directory="/gcs/",
        endpoint=f"http://127.0.0.1:{port}",
        retry=RETRY,
    )
    return S3BlobStorage(options.as_s3(), dialect=GCS)


def oss(port):
    options = OssOptions(
        bucket=BUCKET,
        access_key="LTAI",
        secret_key=Secret("s"),
        region="oss-cn-hangzhou",
        endpoint=f"http://{BUCKET}.{OSS_HOST}:{port}",
        root_directory="/oss",
        retry=RETRY,
    )
    return S3BlobStorage(options.as_s3(), dialect=OSS)


def swift(port):
    options = SwiftOptions(
        container=BUCKET,
        access_key="ec2",
        secret_key=Secret("s"),
        s3_endpoint=f"http://127.0.0.1:{port}",
        prefix="swift",
        retry=RETRY,
    )
    return S3BlobStorage(options.as_s3(), dialect=SWIFT)


PRESETS = {
    "gcs": (GoogleStore, gcs, "gcs/docker/"),
    "oss": (AliyunStore, oss, "oss/docker/"),
    "swift": (OpenStackStore, swift, "swift/files/docker/"),
}


@contextmanager
def running(name, upstream):
    kind, create, folder = PRESETS[name]
    with preset_store(kind, upstream) as (port, store):
        yield create(port), store, folder


@pytest.fixture(params=list(PRESETS))
async def preset(request, upstream):
    with running(request.param, upstream) as (storage, store, folder):
        async with storage:
            yield storage, store, folder
            await storage.delete_tree("/docker")


@asynccontextmanager
async def opened(name, upstream):
    with running(name, upstream) as (storage, store, _):
        async with storage:
            yield storage, store
            await storage.delete_tree("/docker")


async def read_range(storage, key, offset, length):
    async with storage.open_reader(key, offset=offset, length=length) as reader:
        return reader.size, b"".join([piece async for piece in reader])


async def test_objects_have_the_keys_of_distribution(preset):
    storage, _, folder = preset
    await storage.write("/docker/registry/v2/_a.b/link", b"content")
    assert await storage.read("/docker/registry/v2/_a.b/link") == b"content"
    assert [key for key in await stored_in(storage) if "link" in key] == [f"{folder}registry/v2/_a.b/link"]


async def test_large_object_is_staged_moved_and_read_in_parts(preset):
    storage, _, _ = preset
    await stage(storage, "/docker/staged", LARGE)
    await storage.move("/docker/staged", "/docker/moved")
    assert [key async for key, _ in storage.walk("/docker")] == ["/docker/moved"]
    assert await read_range(storage, "/docker/moved", 6 * MIB, 10) == (len(LARGE), LARGE[6 * MIB : 6 * MIB + 10])
    assert (await storage.stat("/docker/moved")).size == len(LARGE)


@pytest.mark.parametrize(
    ("offset", "length", "content"), [(0, 99, b"0123456789"), (4, 99, b"456789"), (4, None, b"456789"), (10, None, b"")]
)
async def test_range_beyond_the_end_is_cut(preset, offset, length, content):
    storage, _, _ = preset
    await storage.write("/docker/ten", b"0123456789")
    assert await read_range(storage, "/docker/ten", offset, length) == (10, content)


async def test_range_that_begins_beyond_the_end_is_refused(preset):
    storage, _, _ = preset
    await storage.write("/docker/ten", b"0123456789")
    with pytest.raises(RangeInvalidError):
        await read_range(storage, "/docker/ten", 11, None)


async def test_second_creation_is_refused_without_conditions(preset):
    storage, _, _ = preset
    assert not storage.creates_exclusively
    assert await storage.create("/docker/lease", b"a")
    assert not await storage.create("/docker/lease", b"b")
    assert await storage.read("/docker/lease") == b"a"


async def test_trees_and_missing_objects_are_removed(preset):
    storage, _, _ = preset
    for name in ("a/1", "a/2", "a/b/3", "ab"):
        await storage.write(f"/docker/{name}", b"x")
    await storage.delete(["/docker/none"])
    await storage.delete_tree("/docker/a")
    assert [name async for name in storage.list_children("/docker")] == ["ab"]


async def test_abandoned_uploads_are_found(preset):
    storage, _, _ = preset
    await begin_upload(storage.client, "/docker/_uploads/u/data")
    later = datetime(2100, 1, 1, tzinfo=UTC)
    dropped = await storage.drop_unfinished("/docker", before=later, is_spared=lambda _key: False)
    assert dropped == ["/docker/_uploads/u/data"]
    assert not [key for key in await stored_in(storage) if key.startswith("upload of")]


async def test_clients_are_redirected_to_the_store(preset):
    storage, _, _ = preset
    await storage.write("/docker/x", b"content")
    url = await storage.redirect_url("/docker/x", method="GET")
    async with ClientSession() as session, session.get(url) as response:
        assert (response.status, await response.read()) == (200, b"content")


async def test_refusals_of_google_are_asked_for_once(upstream):
    async with opened("gcs", upstream) as (storage, store):
        for _ in range(2):
            await storage.write("/docker/a", b"a")
            await storage.write("/docker/b", b"b")
            await storage.delete(["/docker/a", "/docker/b", "/docker/none"])
        await stage(storage, "/docker/staged", LARGE)
        await storage.move("/docker/staged", "/docker/moved")
    assert store.counts["POST delete"] == 1


async def test_signatures_name_the_region_of_oss(upstream):
    async with opened("oss", upstream) as (storage, _):
        url = await storage.redirect_url("/docker/x", method="GET")
    assert url.startswith(f"http://{BUCKET}.{OSS_HOST}:")
    assert "%2Fcn-hangzhou%2Fs3%2Faws4_request" in url


def test_oss_signs_with_version_2_on_request():
    options = OssOptions(bucket=BUCKET, region="oss-cn-beijing", internal=True, v4_auth=False, secure=False).as_s3()
    assert options.url(options.region_endpoint) == "http://s3.oss-cn-beijing-internal.aliyuncs.com"
    assert (options.v4_auth, options.region) == (False, "cn-beijing")
