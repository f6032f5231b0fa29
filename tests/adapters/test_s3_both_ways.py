"""Requests and answers of the two ways to a bucket: those of the direct one equal those of botocore.

The store of this file records each request and answers as S3 would.
"""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from adapters.blob_storage.s3 import RetryOptions, S3Options
from adapters.blob_storage.s3.body import Body
from adapters.blob_storage.s3.client import StoreClient
from adapters.blob_storage.s3.dialect import S3
from adapters.blob_storage.s3.direct.address import bucket_url
from adapters.blob_storage.s3.direct.documents import ANSWER_BYTES_MAX
from adapters.blob_storage.s3.direct.requests import open_direct
from adapters.blob_storage.s3.errors import AnswerError, RequestError, is_transient
from adapters.blob_storage.s3.listing import list_pages
from adapters.blob_storage.s3.multipart import StoredPart, complete_upload, list_uploads
from adapters.blob_storage.s3.presets.dialects import OSS
from adapters.blob_storage.s3.requests import Requests
from adapters.blob_storage.s3.sdk.requests import open_sdk
from core.errors import StorageUnavailableError
from core.model.secret import Secret

KEYS = (
    "docker/registry/v2/blobs/sha256/ab/data",
    "a b+c~d:e",
    "ä/中/*!'()",
    "%25/&=?#;@$,",
    "a//b/./../c/",
    "line\nbreak\r<&>\"'",
)
CONTENT = b"content " * 20_000
PARTS = [
    {"PartNumber": 1, "ETag": '"0123456789abcdef"', "ChecksumCRC32": "AAAAAA=="},
    {"PartNumber": 2, "ETag": '"<&>"'},
]
NEW_OBJECT = {
    "ContentType": "application/octet-stream",
    "StorageClass": "STANDARD_IA",
    "ACL": "bucket-owner-full-control",
    "ServerSideEncryption": "aws:kms",
    "SSEKMSKeyId": "arn:aws:kms:eu-west-1:1:key/a b",
}
VOLATILE = {
    "accept", "amz-sdk-invocation-id", "amz-sdk-request", "authorization", "connection", "user-agent", "x-amz-date",
}  # fmt: skip
"""Headers whose values differ from request to request, and what botocore's client adds without an effect."""


def requests_with(key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each operation with each kind of its arguments."""
    source = {"Bucket": "images", "Key": key}
    named = {"Key": key}
    upload = {**named, "UploadId": "a+b/c=="}
    yield "get_object", named
    yield "get_object", {**named, "Range": "bytes=3-7"}
    yield "head_object", named
    yield "delete_object", named
    yield "put_object", named
    yield "put_object", {**named, **NEW_OBJECT, "Body": Body(CONTENT[:9], CONTENT[9:99]), "ContentMD5": "x" * 22 + "=="}
    yield "put_object", {**named, "Body": Body(CONTENT), "ChecksumCRC32": "AAAAAA==", "ContentType": "a/b"}
    yield "put_object", {**named, "Body": Body(b""), "IfNoneMatch": "*"}
    yield "copy_object", {**named, "CopySource": source, **NEW_OBJECT}
    yield "create_multipart_upload", named
    yield "create_multipart_upload", {**named, **NEW_OBJECT, "ChecksumAlgorithm": "CRC32"}
    yield "upload_part", {**upload, "PartNumber": 7, "Body": Body(CONTENT), "ContentMD5": "x" * 22 + "=="}
    yield "upload_part", {**upload, "PartNumber": 10_000, "Body": Body(b"1"), "ChecksumCRC32": "AAAAAA=="}
    yield "upload_part_copy", {**upload, "PartNumber": 2, "CopySource": source, "CopySourceRange": "bytes=0-5242879"}
    yield "complete_multipart_upload", {**upload, "MultipartUpload": {"Parts": PARTS}}
    yield "abort_multipart_upload", upload
    yield "delete_objects", {"Delete": {"Objects": [{"Key": key}, {"Key": "b"}], "Quiet": False}}
    yield "list_multipart_uploads", {"Prefix": key}
    yield "list_multipart_uploads", {"Prefix": key, "KeyMarker": f"{key}a", "UploadIdMarker": "u+/="}
    # Last: afterwards, botocore is asked no more.
    yield "list_objects", {"Prefix": key, "Delimiter": "/_", "Marker": f"{key}/a", "MaxKeys": 1000}


LISTED = b"""<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><EncodingType>url</EncodingType>
<IsTruncated>true</IsTruncated><NextMarker>a%2Fb+c</NextMarker><Prefix></Prefix>
<Contents><Key>a%2Fb+c%01</Key><LastModified>2026-11-30T12:00:00.123Z</LastModified><ETag>&quot;e&quot;</ETag>
<Size>12</Size><Owner><ID>o</ID></Owner><StorageClass>STANDARD</StorageClass></Contents>
<CommonPrefixes><Prefix>p%2F_</Prefix></CommonPrefixes></ListBucketResult>"""
UPLOADS = b"""<ListMultipartUploadsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Bucket>images</Bucket>
<NextKeyMarker>k</NextKeyMarker><NextUploadIdMarker>v</NextUploadIdMarker><IsTruncated>true</IsTruncated>
<Upload><Key>a b</Key><UploadId>u</UploadId><Initiated>2026-11-30T12:00:00.000Z</Initiated></Upload>
</ListMultipartUploadsResult>"""
BEGUN = b"<InitiateMultipartUploadResult><Key>k</Key><UploadId>u/1</UploadId></InitiateMultipartUploadResult>"
COMPLETED = b"<CompleteMultipartUploadResult><ETag>&quot;e-2&quot;</ETag></CompleteMultipartUploadResult>"
COPIED_PART = (
    b"<CopyPartResult><LastModified>2026-11-30T12:00:00Z</LastModified><ETag>&quot;p&quot;</ETag></CopyPartResult>"
)
COPIED = b"<CopyObjectResult><ETag>&quot;c&quot;</ETag></CopyObjectResult>"
DELETED = (
    b"<DeleteResult><Deleted><Key>a</Key></Deleted><Error><Key>b</Key><Code>SlowDown</Code></Error></DeleteResult>"
)


@dataclass(frozen=True)
class Received:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def essence(self) -> tuple[str, str, list[tuple[str, str]], dict[str, str], bytes]:
        """Everything that means something to a store; the order of parameters does not."""
        parts = urlsplit(self.target)
        headers = {name: value for name, value in self.headers.items() if name not in VOLATILE}
        if self.method == "DELETE":
            # botocore's client names the size of a body that there is not.
            assert headers.pop("content-length", "0") == "0"
        return self.method, parts.path, sorted(parse_qsl(parts.query, keep_blank_values=True)), headers, self.body

    @property
    def signed_headers(self) -> set[str]:
        return set(self.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";"))


@dataclass
class Store:
    """Records requests, and answers each with `answer`, or as S3 would."""

    port: int = 0
    received: list[Received] = field(default_factory=list)
    answer: bytes | None = None
    """The whole answer, with its head."""
    answer_once: bytes | None = None
    """The whole answer to the next request."""
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, *lines = head.strip().split("\r\n")
                method, target, _ = first.split(" ")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.received.append(Received(method, target, headers, body))
                once, self.answer_once = self.answer_once, None
                writer.write(once or self.answer or answer_to(self.received[-1]))
                await writer.drain()
        writer.close()


def answer_to(request: Received) -> bytes:
    query = dict(parse_qsl(urlsplit(request.target).query, keep_blank_values=True))
    is_copy = "x-amz-copy-source" in request.headers
    content = CONTENT if request.method == "GET" else b""
    if request.method == "GET" and ("uploads" in query or "prefix" in query):
        content = UPLOADS if "uploads" in query else LISTED
    elif request.method == "POST":
        content = BEGUN if "uploads" in query else DELETED if "delete" in query else COMPLETED
    elif is_copy:
        content = COPIED_PART if "partNumber" in query else COPIED
    fields = {
        "Content-Length": str(len(CONTENT if request.method == "HEAD" else content)),
        "ETag": '"0123456789abcdef0123456789abcdef"',
        "Last-Modified": "Mon, 30 Nov 2026 12:00:00 GMT",
        "Content-Range": f"bytes 3-7/{len(CONTENT)}",
        "x-amz-checksum-crc32": "AAAAAA==",
        "x-amz-checksum-algorithm": "CRC32",
        "x-amz-server-side-encryption": "aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id": "k",
        "x-amz-storage-class": "STANDARD_IA",
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 200 OK\r\n{head}\r\n".encode() + content


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    store = Store()
    server = await asyncio.start_server(store.serve, "127.0.0.1", 0)
    store.port = server.sockets[0].getsockname()[1]
    yield store
    server.close()
    for writer in store.writers:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
    await server.wait_closed()


def options(store: Store, **changes: Any) -> S3Options:
    settings: dict[str, Any] = {
        "bucket": "images",
        "access_key": "AKID",
        "secret_key": Secret("hush"),
        "session_token": Secret("token/+="),
        "region": "eu-west-1",
        "region_endpoint": f"http://127.0.0.1:{store.port}",
        "retry": RetryOptions(attempts=1),
    }
    return S3Options(**(settings | changes))


@asynccontextmanager
async def both_ways(chosen: S3Options) -> AsyncIterator[tuple[Requests, Requests]]:
    async with open_direct(chosen, S3) as direct, open_sdk(chosen, S3) as sdk:
        yield direct, sdk


async def send(requests: Requests, operation: str, parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
    answer = await requests.send(
        operation, more.get("host", ""), more.get("query", ()), parameters, seconds=30, bytes_max=more.get("bytes_max")
    )
    if operation == "get_object" and "Body" in answer:
        answer["Content"] = await answer.pop("Body").read()
    return answer


READ: dict[str, tuple[str, ...]] = {
    "get_object": ("Content", "ContentLength", "ContentRange", "ETag"),
    "head_object": ("ContentLength", "ETag", "LastModified", "SSEKMSKeyId", "ServerSideEncryption", "StorageClass"),
    "put_object": ("ChecksumCRC32", "ETag"),
    "upload_part": ("ChecksumCRC32", "ETag"),
    "create_multipart_upload": ("ChecksumAlgorithm", "UploadId"),
    "list_objects": ("CommonPrefixes", "IsTruncated", "NextMarker"),
    "list_multipart_uploads": ("IsTruncated", "NextKeyMarker", "NextUploadIdMarker"),
}
"""The fields that this adapter reads, besides those of entries."""


def essence_of(operation: str, answer: dict[str, Any]) -> list[Any]:
    """Return what the adapter reads of an answer; a missing field fails the test."""
    fields = [str(answer[name]) for name in READ.get(operation, ())]
    if operation == "upload_part_copy":
        fields.append(answer["CopyPartResult"]["ETag"])
    objects = [
        [entry[name] for name in ("Key", "LastModified", "ETag", "Size")] for entry in answer.get("Contents", [])
    ]
    uploads = [[entry[name] for name in ("Key", "UploadId", "Initiated")] for entry in answer.get("Uploads", [])]
    errors = [(error["Key"], error["Code"]) for error in answer.get("Errors", [])]
    return [answer["ResponseMetadata"]["HTTPStatusCode"], *fields, objects, uploads, errors]


@pytest.mark.parametrize("key", KEYS)
async def test_requests_and_answers_equal_those_of_botocore(store: Store, key: str) -> None:
    async with both_ways(options(store)) as ways:
        for operation, parameters in requests_with(key):
            store.received.clear()
            answers = [essence_of(operation, await send(way, operation, parameters)) for way in ways]
            ours, theirs = store.received
            assert ours.essence == theirs.essence, operation
            assert ours.signed_headers == theirs.signed_headers - VOLATILE | {"x-amz-date"}, operation
            assert answers[0] == answers[1], operation


async def test_redirected_requests_and_own_parameters_equal_those_of_botocore(store: Store) -> None:
    other = f"http://localhost:{store.port}"
    async with both_ways(options(store, region_endpoint=f"http://127.0.0.1:{store.port}/gate/way/")) as ways:
        for way in ways:
            await send(way, "put_object", {"Key": "a b"}, host=other, query=(("newObjectName", "c d/+"),))
    ours, theirs = store.received
    assert ours.essence == theirs.essence
    assert ours.headers["host"] == f"localhost:{store.port}"
    assert ours.target == "/gate/way/images/a%20b?newObjectName=c%20d%2F%2B"


ENDPOINTS = ("http://store.example:9000", "https://store.example", "http://10.0.0.1:9000", "https://[::1]:9000/a/b/")
BUCKETS = (
    "images", "my.images", "10.0.0.2", "ab", "Images", "my_images", "-images", "images-", "my..images", "i" * 63,
    "i" * 64,
)  # fmt: skip


@pytest.mark.parametrize("bucket", BUCKETS)
@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("dialect", [S3, OSS])
async def test_url_of_the_bucket_is_that_of_botocore(endpoint: str, bucket: str, dialect: Any) -> None:
    if bucket == "my.images" and endpoint == "http://10.0.0.1:9000":
        # botocore asks for `my.images.10.0.0.1`, which is the name of no host.
        assert bucket_url(endpoint, bucket, in_host=True) == f"{endpoint}/{bucket}"
        return
    chosen = options(Store(), region_endpoint=endpoint, bucket=bucket)
    async with open_sdk(chosen, dialect) as sdk:
        theirs = (await sdk.presign("key", await sdk.credentials(), seconds=60)).partition("?")[0]
    assert bucket_url(endpoint, bucket, in_host=dialect.addressing == "virtual") + "/key" == theirs


async def test_batches_carry_the_md5_of_their_document(store: Store) -> None:
    async with open_direct(options(store), S3) as direct:
        await send(direct, "delete_objects", {"Delete": {"Objects": [{"Key": "a"}]}})
    [received] = store.received
    digest = hashlib.md5(received.body, usedforsecurity=False).digest()
    assert received.headers["content-md5"] == base64.b64encode(digest).decode()
    assert received.target == "/images?delete"


def document(content: bytes, *, status: bytes = b"200 OK", headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n" % (status, headers, len(content)) + content


FAILED = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>InternalError</Code></Error>'


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("complete_multipart_upload", {"Key": "a", "UploadId": "u", "MultipartUpload": {"Parts": PARTS}}),
        ("copy_object", {"Key": "a", "CopySource": {"Bucket": "images", "Key": "b"}}),
        ("delete_objects", {"Delete": {"Objects": [{"Key": "a"}]}}),
        ("create_multipart_upload", {"Key": "a"}),
        ("list_objects", {"Prefix": ""}),
    ],
)
async def test_error_in_a_successful_answer_is_a_transient_failure(
    store: Store, operation: str, parameters: dict[str, Any]
) -> None:
    """S3 answers 200 before it begins to assemble an object, and fails later."""
    store.answer = document(FAILED)
    async with both_ways(options(store)) as ways:
        for way in ways:
            with pytest.raises(RequestError) as caught:
                await send(way, operation, parameters)
            assert isinstance(caught.value, AnswerError)
            assert (caught.value.code, caught.value.status) == ("InternalError", 500)
            assert is_transient(caught.value, frozenset())


BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    b"<ListBucketResult><Contents><Key>&b;</Key></Contents></ListBucketResult>"
)
ENTRY = b"<Key>a</Key><LastModified>2026-11-30T12:00:00Z</LastModified><Size>1</Size>"


def listed(entry: bytes) -> bytes:
    return b"<ListBucketResult><Contents>%s</Contents></ListBucketResult>" % entry


@pytest.mark.parametrize(
    ("operation", "content"),
    [
        ("list_objects", b""),
        ("list_objects", b"<ListBucketResult>"),
        ("list_objects", LISTED[:-1]),
        ("list_objects", b"<html><body>Sign in</body></html>"),
        ("list_objects", BOMB),
        ("list_objects", BOMB.decode().encode("utf-16")),
        ("list_objects", b"\xff\xfe<"),
        ("list_objects", b"<ListBucketResult>" + b"<a/>" * 300_000 + b"</ListBucketResult>"),
        ("list_objects", b"<ListBucketResult " + b" ".join(b'a%d=""' % n for n in range(300_000)) + b"/>"),
        ("list_objects", listed(ENTRY.replace(b"<Key>a</Key>", b""))),
        ("list_objects", listed(ENTRY.replace(b"<Size>1</Size>", b""))),
        ("list_objects", listed(ENTRY.replace(b">1<", b">one<"))),
        ("list_objects", listed(ENTRY.replace(b"2026", b"yesterday"))),
        ("list_multipart_uploads", UPLOADS[:-10]),
        ("list_multipart_uploads", b"<L><Upload><Key>a</Key></Upload></L>"),
        ("create_multipart_upload", b"<InitiateMultipartUploadResult/>"),
        ("create_multipart_upload", b""),
        ("complete_multipart_upload", COMPLETED[:20]),
        ("delete_objects", DELETED[:-5]),
        ("delete_objects", b"<DeleteResult><Error><Code>AccessDenied</Code></Error></DeleteResult>"),
        ("upload_part_copy", b"<CopyPartResult/>"),
        ("upload_part", b""),
        ("copy_object", b"<Copy"),
    ],
)
async def test_malformed_answer_makes_the_store_unavailable(store: Store, operation: str, content: bytes) -> None:
    parameters = next(parameters for name, parameters in requests_with("a") if name == operation)
    store.answer = document(content)
    for changes in ({}, {"connections_max": 1}):
        async with StoreClient.open(options(store, **changes), S3) as client:
            with pytest.raises(StorageUnavailableError, match="InvalidAnswerError"):
                await client.call(operation, **parameters)


async def test_answer_that_is_too_long_is_not_read_to_its_end(store: Store) -> None:
    store.answer = document(b"<ListBucketResult>" + b" " * ANSWER_BYTES_MAX + b"</ListBucketResult>")
    for changes in ({}, {"connections_max": 1}):
        async with StoreClient.open(options(store, **changes), S3) as client:
            with pytest.raises(StorageUnavailableError):
                await client.call("list_objects", Prefix="")


async def test_error_of_a_proxy_in_html_keeps_its_status(store: Store) -> None:
    store.answer = document(b"<!DOCTYPE html><html><p>busy</html>", status=b"503 Busy")
    async with open_direct(options(store), S3) as direct:
        with pytest.raises(AnswerError) as caught:
            await send(direct, "list_objects", {"Prefix": ""})
    assert (caught.value.code, caught.value.status) == ("503", 503)


@pytest.mark.parametrize(
    ("operation", "refusal"),
    [
        (
            "list_objects",
            document(
                b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-north-1</Region></Error>",
                status=b"400 Bad",
            ),
        ),
        ("head_object", document(b"", status=b"400 Bad", headers=b"x-amz-bucket-region: eu-north-1\r\n")),
    ],
)
async def test_bucket_of_another_region_is_reached(store: Store, operation: str, refusal: bytes) -> None:
    parameters = next(parameters for name, parameters in requests_with("a") if name == operation)
    store.answer_once = refusal
    async with StoreClient.open(options(store), S3) as client:
        answer = await client.call(operation, **parameters)
        assert answer["Attempts"] == 1
        assert "IsRedirected" not in answer
        await client.call("head_object", Key="a")
    regions = [request.headers["authorization"].split("/")[2] for request in store.received]
    assert regions == ["eu-west-1", "eu-north-1", "eu-north-1"]


async def test_region_that_stays_refused_is_an_error(store: Store) -> None:
    store.answer = document(
        b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-north-1</Region></Error>", status=b"400 Bad"
    )
    async with StoreClient.open(options(store), S3) as client:
        with pytest.raises(StorageUnavailableError, match="another region"):
            await client.call("list_objects", Prefix="")
    assert len(store.received) == 2


@pytest.mark.parametrize("spelling", ["http://127.0.0.1:{port}", "127.0.0.1:{port}"])
async def test_proxy_of_the_environment_gets_the_requests(
    store: Store, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    monkeypatch.setenv("http_proxy", spelling.format(port=store.port))
    monkeypatch.setenv("no_proxy", "other.example")
    async with both_ways(options(store, region_endpoint="http://store.example:9000")) as ways:
        for way in ways:
            await send(way, "get_object", {"Key": "a b"}, bytes_max=len(CONTENT))
            await send(way, "head_object", {"Key": "a b"})
    assert [request.target for request in store.received] == ["http://store.example:9000/images/a%20b"] * 4


async def test_store_that_needs_no_proxy_gets_the_requests_itself(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    async with both_ways(options(store)) as ways:
        for way in ways:
            await send(way, "head_object", {"Key": "a"})
    assert [request.target for request in store.received] == ["/images/a"] * 2


@pytest.mark.parametrize("size", [len(CONTENT), 1])
async def test_completion_that_fails_in_its_answer_is_checked_and_repeated(store: Store, size: int) -> None:
    store.answer_once = document(FAILED)
    quick = RetryOptions(pause_base_seconds=0.001)
    async with StoreClient.open(options(store, retry=quick), S3) as client:
        await complete_upload(client, "/a", "u", [StoredPart('"e"')], size)
    repeated = ["POST", "HEAD", "POST"]
    assert [request.method for request in store.received] == (repeated if size == 1 else repeated[:2])


@pytest.mark.parametrize(
    ("operation", "head"),
    [
        ("head_object", b"Content-Length: some\r\n"),
        ("head_object", b""),
        ("get_object", b"Transfer-Encoding: chunked\r\n"),
    ],
)
async def test_object_without_a_size_is_an_error(store: Store, operation: str, head: bytes) -> None:
    store.answer = b"HTTP/1.1 200 OK\r\n" + head + b"\r\n"
    async with StoreClient.open(options(store, connections_max=8 if operation == "head_object" else 1), S3) as client:
        with pytest.raises(StorageUnavailableError, match="InvalidAnswerError"):
            await client.call(operation, key="/a", bytes_max=None if operation == "head_object" else 10)


@pytest.mark.parametrize(
    ("listing", "content"),
    [
        (list_pages, b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"),
        (list_pages, LISTED),
        (list_uploads, UPLOADS),
    ],
)
async def test_listing_that_does_not_go_on_is_an_error(store: Store, listing: Any, content: bytes) -> None:
    """It would never end."""
    store.answer = document(content)
    async with StoreClient.open(options(store), S3) as client:
        with pytest.raises(StorageUnavailableError, match="does not go on"):
            _ = [entry async for entry in listing(client, "")]
    assert len(store.received) <= 2
