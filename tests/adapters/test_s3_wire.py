"""Requests to an S3 store: options as headers and hosts, copies, signatures, and a store without `/_`."""

from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from adapters.blob_storage.s3 import RetryOptions, S3Options
from adapters.blob_storage.s3.body import Body
from adapters.blob_storage.s3.checksums import Crc32Support
from adapters.blob_storage.s3.dialect import S3
from adapters.blob_storage.s3.errors import (
    AnswerError,
    InvalidAnswerError,
    NotSentError,
    RefusedError,
    is_transient,
    translate,
)
from adapters.blob_storage.s3.moving import Mover
from adapters.blob_storage.s3.options import MIB
from adapters.blob_storage.s3.reader import open_body
from adapters.blob_storage.s3.storage import S3BlobStorage
from adapters.blob_storage.s3.uploading import put_object
from adapters.blob_storage.scs.dialect import SCS
from core.errors import ObjectNotFoundError, RangeInvalidError, StorageFullError, StorageUnavailableError
from core.model.secret import Secret
from tests.support.limited_s3 import limited_s3
from tests.support.s3_servers import moto_endpoint, stored_in
from tests.support.streams import collect, commit, payload, read_stream, stage

BUCKET = "wire"
STAGED = "/r/_uploads/1/data"


@pytest.fixture(scope="module")
def endpoint():
    with moto_endpoint(BUCKET) as url:
        yield url


@pytest.fixture
def options(endpoint):
    def build(**changes):
        settings = {
            "bucket": BUCKET,
            "access_key": "key",
            "secret_key": Secret("hush"),
            "region_endpoint": endpoint,
            "chunk_bytes": 5 * MIB,
            "parts_in_flight": 1,
            "retry": RetryOptions(attempts=2, pause_base_seconds=0.001),
        }
        return S3Options(**(settings | changes))

    return build


@pytest.mark.parametrize(
    "changes",
    [
        {"bucket": ""},
        {"chunk_bytes": 5 * MIB - 1},
        {"multipart_copy_chunk_bytes": 1},
        {"parts_in_flight": 0},
        {"connections_max": 0},
    ],
)
def test_useless_option_is_refused(options, changes):
    with pytest.raises(ValueError, match=r"bucket|bytes|parts_in_flight"):
        S3BlobStorage(options(**changes))


def test_options_hide_secrets(options):
    assert "hush" not in repr(options(session_token=Secret("hush-token")))


def test_pauses_are_jittered_and_bounded():
    retry = RetryOptions(attempts=9, pause_base_seconds=1, pause_seconds_max=4)
    for _ in range(50):
        pauses = list(retry.pauses())
        assert len(pauses) == 8
        assert all(0 <= pause <= min(4, 2**number) for number, pause in enumerate(pauses))
    assert list(retry.pauses()) != list(retry.pauses())


def test_long_transfers_get_more_time():
    retry = RetryOptions(connect_seconds=1, read_seconds=2)
    assert retry.attempt_seconds(0) == 3
    assert retry.attempt_seconds(10 * MIB) == 43


@pytest.mark.parametrize("size", [12 * MIB, 22 * MIB])
async def test_long_object_is_copied_in_parts(options, size):
    content = payload(size)
    copying = {"multipart_copy_threshold_bytes": 5 * MIB, "multipart_copy_chunk_bytes": 5 * MIB}
    async with S3BlobStorage(options(**copying)) as storage:
        await stage(storage, STAGED, content[: size - 5])
        await stage(storage, STAGED, content[size - 5 :], resume=True)
        await commit(storage, STAGED, "/target")
        assert await read_stream(storage, "/target") == content
        assert await stored_in(storage) == ["target"]
        assert (await storage.stat("/target")).md5 is None
        await storage.delete_tree("/")


async def test_failed_copy_leaves_no_upload(options):
    copying = {"multipart_copy_threshold_bytes": 5 * MIB, "multipart_copy_chunk_bytes": 5 * MIB}
    async with S3BlobStorage(options(**copying)) as storage:
        with pytest.raises(ObjectNotFoundError) as caught:
            await Mover(storage.client).copy("/missing", "/target", 12 * MIB)
        assert caught.value.key == "/missing"
        assert await stored_in(storage) == []


@pytest.mark.parametrize("v4_auth", [True, False])
async def test_options_reach_the_store_by_both_signatures(options, endpoint, v4_auth):
    """Those of the second signature version by botocore's client."""
    changes = {"session_token": Secret("hush-token"), "user_agent": "us/1", "encrypt": True, "key_id": "some-key"}
    with limited_s3(endpoint, frozenset()) as (url, proxy):
        more = {"storage_class": "STANDARD_IA", "object_acl": "private", "v4_auth": v4_auth}
        async with S3BlobStorage(options(region_endpoint=url, **changes, **more)) as storage:
            await storage.create("/a", b"content")
            assert await storage.read("/a") == b"content"
            await storage.delete(["/a"])
    put = next(headers for method, headers in proxy.headers if method == "PUT")
    assert put["x-amz-server-side-encryption-aws-kms-key-id"] == "some-key"
    assert (put["x-amz-storage-class"], put["x-amz-acl"], put["if-none-match"]) == ("STANDARD_IA", "private", "*")
    assert put["authorization"].startswith("AWS4-HMAC-SHA256 Credential=key/" if v4_auth else "AWS key:")
    for _, headers in proxy.headers:
        assert headers["x-amz-security-token"] == "hush-token"
        assert "us/1" in headers["user-agent"]
        assert headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("v4_auth", [True, False])
async def test_keys_of_others_are_listed_and_removed(options, v4_auth):
    """Also a key that XML cannot contain, which DeleteObjects could not name."""
    async with S3BlobStorage(options(v4_auth=v4_auth)) as storage:
        for name in ("a/b", "a/ä b+c&d=e%25", "a/\x01"):
            await storage.client.call("put_object", Key=name)
        assert [key async for key, _ in storage.walk("/a")] == ["/a/b"]
        await storage.client.call("delete_object", Key="a/\x01")
        await storage.delete_tree("/a")
        assert await stored_in(storage) == []


@pytest.mark.parametrize("v4_auth", [True, False])
async def test_both_signature_versions_are_supported(options, v4_auth):
    async with S3BlobStorage(options(v4_auth=v4_auth)) as storage:
        await storage.write("/a", b"content")
        url = await storage.redirect_url("/a", method="GET")
        assert url is not None
        async with aiohttp.ClientSession() as client, client.get(url) as answer:
            assert await answer.read() == b"content"
        await storage.delete(["/a"])
    assert ("X-Amz-Signature" in url) is v4_auth
    assert "hush" not in url


@pytest.mark.parametrize("found", [False, True])
async def test_redirect_url_is_signed_for_its_endpoint(options, monkeypatch, found):
    keys = {"access_key": None, "secret_key": None} if found else {}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    async with S3BlobStorage(options(redirect_endpoint="https://cdn.example:8443", **keys)) as storage:
        url = urlsplit(await storage.redirect_url("/a/b", method="GET"))
        assert (url.scheme, url.netloc, url.path) == ("https", "cdn.example:8443", "/wire/a/b")
        assert "X-Amz-Expires=1200" in url.query
        assert await storage.redirect_url("/a/b", method="HEAD") is None


async def test_root_directory_is_a_key_prefix(options):
    async with S3BlobStorage(options(root_directory="/some/root/")) as storage:
        await storage.write("/a/b", b"")
        assert await stored_in(storage) == ["some/root/a/b"]
        assert [key async for key, _ in storage.walk("/")] == ["/a/b"]
        await storage.delete_tree("/")
        assert await stored_in(storage) == []


async def test_bodies_are_sent_without_chunked_signing(options, endpoint):
    """No trailing checksum, no chunked signing, no waiting for 100 Continue; the MD5 guards the body."""
    with limited_s3(endpoint, frozenset()) as (url, proxy):
        async with S3BlobStorage(options(region_endpoint=url)) as storage:
            await stage(storage, STAGED, payload(12 * MIB))
            await storage.delete_tree("/")
    names = {name for _, headers in proxy.headers for name in headers}
    assert not names & {"expect", "x-amz-trailer", "transfer-encoding", "content-encoding"}
    bodies = [headers for method, headers in proxy.headers if method == "PUT"]
    assert len(bodies) == 4
    assert {headers["x-amz-content-sha256"] for headers in bodies} == {"UNSIGNED-PAYLOAD"}
    assert all("content-md5" in headers for headers in bodies)


async def test_encryption_and_storage_class_are_requested(options):
    async with S3BlobStorage(options(encrypt=True, storage_class="STANDARD_IA", object_acl="private")) as storage:
        await storage.write("/a", b"content")
        answer = await storage.client.call("head_object", key="/a")
        assert (answer["ServerSideEncryption"], answer["StorageClass"]) == ("AES256", "STANDARD_IA")
        assert (await storage.stat("/a")).md5 is not None
        await storage.delete(["/a"])


async def test_kms_objects_have_no_md5(options):
    async with S3BlobStorage(options(encrypt=True, key_id="some-key")) as storage:
        await storage.write("/a", b"content")
        answer = await storage.client.call("head_object", key="/a")
        assert (answer["ServerSideEncryption"], answer["SSEKMSKeyId"]) == ("aws:kms", "some-key")
        assert (await storage.stat("/a")).md5 is None
        await storage.delete(["/a"])


async def test_md5_of_a_listing_is_used_after_proof(options):
    async with S3BlobStorage(options()) as storage, S3BlobStorage(options()) as other:
        await other.write("/a", b"content")
        assert [stat.md5 async for _, stat in storage.walk("/")] == [None]
        await storage.write("/b", b"content")
        assert None not in [stat.md5 async for _, stat in storage.walk("/")]
        await storage.delete(["/a", "/b"])


async def test_folder_objects_of_a_console_are_skipped(options):
    async with S3BlobStorage(options()) as storage:
        await storage.write("/a/b", b"")
        for folder in ("a/", "a/c/"):
            await storage.client.call("put_object", Key=folder)
        assert [key async for key, _ in storage.walk("/")] == ["/a/b"]
        assert await collect(storage.list_children("/a")) == ["b", "c"]
        await storage.delete_tree("/a")
        assert await stored_in(storage) == []


async def test_missing_bucket_is_reported_at_start(options):
    with pytest.raises(StorageUnavailableError, match=r"bucket 'none-such' does not exist.*storage\.s3\.bucket"):
        async with S3BlobStorage(options(bucket="none-such")):
            pytest.fail("it opened")


def refusal(code, status, **headers):
    return AnswerError(code, status, headers)


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (refusal("404", 404), ObjectNotFoundError, "/a"),
        (refusal("NoSuchBucket", 404), StorageUnavailableError, r"bucket 'b' does not exist"),
        (refusal("AccessDenied", 403), StorageUnavailableError, r"rights of storage\.s3\.accesskey"),
        (refusal("PermanentRedirect", 301), StorageUnavailableError, r"another region.*storage\.s3\.region"),
        (refusal("NotImplemented", 501), RefusedError, "501"),
        (refusal("XMinioStorageFull", 507), StorageFullError, "507"),
        (refusal("QuotaExceeded", 403), StorageFullError, "403"),
        (refusal("InvalidRange", 416, **{"content-range": "bytes */7"}), RangeInvalidError, "range"),
        (TimeoutError(), StorageUnavailableError, "cannot reach the store"),
    ],
)
def test_errors_are_translated_to_the_port(error, kind, told):
    found = translate(error, driver="s3", bucket="b", operation="get_object", key="/a")
    assert type(found) is kind or issubclass(type(found), kind)
    with pytest.raises(kind, match=told):
        raise found


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (refusal("SlowDown", 503), True),
        (refusal("RequestTimeout", 400), True),
        (refusal("502", 502), True),
        (refusal("ExistingObjectIsDirectory", 409), True),
        (refusal("AccessDenied", 403), False),
        (refusal("NoSuchKey", 404), False),
        (aiohttp.ClientPayloadError(), True),
        (ConnectionResetError(), True),
        (InvalidAnswerError("no XML"), True),
        (NotSentError("NoCredentialsError"), False),
        (ValueError(), False),
    ],
)
def test_transient_errors_are_recognized(error, expected):
    assert is_transient(error, frozenset()) is expected
    assert is_transient(refusal("NoSuchUpload", 404), frozenset({"NoSuchUpload"}))


@pytest.mark.parametrize("changes", [{"region_endpoint": "no host"}, {"redirect_endpoint": "http://"}])
async def test_malformed_endpoint_is_reported(options, changes):
    with pytest.raises(StorageUnavailableError, match=r"endpoint of storage\.s3"):
        async with S3BlobStorage(options(**changes)):
            pytest.fail("it opened")


@pytest.mark.parametrize(("v4_auth", "code"), [(True, "InvalidBucketName"), (False, "ParamValidationError")])
async def test_malformed_bucket_name_is_reported(options, v4_auth, code):
    with pytest.raises(StorageUnavailableError, match=rf"{code}.*bucket"):
        async with S3BlobStorage(options(bucket="no bucket/at all", v4_auth=v4_auth)):
            pytest.fail("it opened")


async def test_malformed_region_is_reported(options):
    with pytest.raises(StorageUnavailableError, match=r"InvalidRegionError.*region"):
        async with S3BlobStorage(options(region="eu west")):
            pytest.fail("it opened")


@pytest.mark.parametrize(
    ("status", "content_range", "offset"), [(200, None, 5), (206, None, 5), (206, None, 0), (200, "bytes 0-1/2", 0)]
)
async def test_answer_that_is_no_range_is_an_error(status, content_range, offset):
    """Taken as one, it would be other bytes than were asked for, or fewer."""

    class Body:
        closed = False

        def close(self):
            self.closed = True

    body = Body()

    async def call(_operation, **_):
        told = {"ContentRange": content_range} if content_range else {}
        return {"ResponseMetadata": {"HTTPStatusCode": status}, "Body": body, "ContentLength": 20, **told}

    store: Any = SimpleNamespace(call=call, dialect=S3)
    with pytest.raises(StorageUnavailableError, match="range"):
        await open_body(store, "/a", offset, 2)
    assert body.closed


@pytest.mark.parametrize(
    ("dialect", "etag", "proof"),
    [
        (S3, None, None),
        (S3, '"9a0364b9e99bb480dd25e1f0284c8555"', True),
        (S3, '"00000000000000000000000000000000"', False),
        (S3, '"9a0364b9e99bb480dd25e1f0284c8555-2"', None),
        (SCS, "9A0364B9E99BB480DD25E1F0284C8555", True),
        (SCS, None, None),
    ],
)
async def test_etag_proves_the_stored_bytes(options, dialect, etag, proof):
    async def call(_operation, **_):
        return {"ETag": etag} if etag else {}

    store: Any = SimpleNamespace(call=call, dialect=dialect, options=options(), crc32=Crc32Support(may_exist=True))
    assert await put_object(store, "/a", Body(b"con", b"tent")) == (etag, proof)


async def test_etag_of_other_bytes_is_an_error(options):
    async def call(_operation, **_):
        return {"ETag": "0" * 32}

    store: Any = SimpleNamespace(call=call, dialect=SCS, options=options(), crc32=Crc32Support(may_exist=False))
    with pytest.raises(StorageUnavailableError, match="wrong checksum"):
        await put_object(store, "/a", Body(b"content"))
