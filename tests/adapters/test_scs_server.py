"""The endpoints of the tests and of the benchmarks are as strict as these need it: each refusal, once."""

import base64
import hashlib
import hmac
import io
import json
from email.utils import formatdate
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from tests.support.scs_server import FakeScsServer

TYPE = "application/octet-stream"
VECTORS = json.loads((Path(__file__).parent / "data" / "scs_vectors.json").read_text())
TIME_OF_VECTORS = "2026-11-24T03:52:00Z"


@pytest.fixture(params=["python", "go"])
async def server(request, tmp_path):
    if request.param == "python":
        async with FakeScsServer() as server:
            yield server
        return
    with request.getfixturevalue("scs_store")(tmp_path, access_key="AKTEST", secret_key="SKTEST") as server:
        yield server


@pytest.fixture
def replayed(tmp_path, scs_store):
    """The endpoint in Go at the time of the recorded requests."""
    keys = {"access_key": VECTORS["access_key"], "secret_key": VECTORS["secret_key"]}
    with scs_store(tmp_path, now=TIME_OF_VECTORS, **keys) as server:
        yield server


@pytest.fixture
async def send(server):
    """Send a request that is signed by the protocol's text, spelt out here once more."""
    async with aiohttp.ClientSession(skip_auto_headers={"Content-Type"}) as client:

        async def send(method, target, *, resource=None, headers=None, body=b"", sign=True, **options):
            headers = {"Date": formatdate(usegmt=True).replace("GMT", "UTC"), **(headers or {})}
            resource = resource or target.partition("?")[0]
            vendor = "".join(f"{n.lower()}:{v}\n" for n, v in sorted(headers.items()) if n.lower().startswith("x-scs-"))
            lines = [method.lower(), headers.get("Content-MD5", ""), headers.get("Content-Type", ""), headers["Date"]]
            mac = hmac.new(b"SKTEST", "\n".join([*lines, vendor + resource]).encode(), hashlib.sha1)
            if sign:
                headers.setdefault("Authorization", f"AKTEST:{base64.b64encode(mac.digest()).decode()}")
            url = URL(server.url + target, encoded=True)
            async with client.request(method, url, headers=headers, data=io.BytesIO(body), **options) as answer:
                return answer.status, (await answer.read()).decode()

        yield send


async def test_signed_request_is_served(send):
    assert (await send("PUT", "/images/a", headers={"Content-Type": TYPE}, body=b"x"))[0] == 200
    assert await send("GET", "/images/a") == (200, "x")
    assert (await send("GET", "/images/?location", resource="/images/?location"))[0] == 200


@pytest.mark.parametrize(
    ("method", "target", "options", "code"),
    [
        ("GET", "/images/a", {"sign": False}, "AccessDenied"),
        ("GET", "/images/a", {"headers": {"Authorization": "AWS AKTEST:x"}}, "AccessDenied"),
        ("GET", "/images/a", {"headers": {"Authorization": "WHO:x"}}, "InvalidAccessKeyId"),
        ("GET", "/images/a", {"headers": {"Authorization": "AKTEST:x"}}, "SignatureDoesNotMatch"),
        ("GET", "/images/a", {"headers": {"Date": "Tue, 24 Nov 2026 03:43:59 GMT"}}, "AccessDenied"),
        ("GET", "/images/a", {"headers": {"Date": "Tue, 24 Nov 2020 03:43:59 UTC"}}, "RequestTimeTooSkewed"),
        ("GET", "/images/a%2Fb", {"resource": "/images/a/b"}, "InvalidURI"),
        ("GET", "/images", {}, "InvalidURI"),
        ("GET", "/Images/a", {}, "InvalidBucketName"),
        ("GET", "/other/a", {}, "NoSuchBucket"),
        ("GET", "/images/a", {}, "NoSuchKey"),
        ("GET", "/images/?list-type=2", {}, "InvalidArgument"),
        ("GET", "/images/?encoding-type=url", {}, "InvalidArgument"),
        ("GET", "/images/a?torrent", {}, "InvalidArgument"),
        ("GET", "/images/a", {"headers": {"x-amz-date": "now"}}, "InvalidArgument"),
        ("GET", "/images/a", {"headers": {"x-scs-meta-x": "y"}}, "InvalidArgument"),
        ("PUT", "/images/a", {"body": b"x"}, "InvalidArgument"),
        ("PUT", "/images/a", {"headers": {"Content-Type": TYPE, "Content-MD5": "0" * 32}}, "BadDigest"),
        ("PUT", "/images/a", {"headers": {"Content-Type": TYPE, "Content-Encoding": "aws-chunked"}}, "InvalidArgument"),
        ("PUT", "/images/a?newObjectName=b", {}, "NoSuchKey"),
        ("PUT", "/images/a?newObjectName=b", {"body": b"x"}, "InvalidArgument"),
        ("PUT", "/images/a", {"headers": {"x-scs-copy-source": "/images/none"}}, "NoSuchKey"),
        ("PUT", "/images/a", {"headers": {"x-scs-copy-source": "/elsewhere/none"}}, "InvalidArgument"),
        ("PUT", "/images/a?partNumber=1&uploadId=none", {"body": b"x"}, "NoSuchUpload"),
        ("POST", "/images/a?uploadId=none", {"body": b"<x/>"}, "NoSuchUpload"),
        ("DELETE", "/images/a?uploadId=none", {}, "NoSuchUpload"),
        ("POST", "/images/?delete", {"body": b"<Delete/>"}, "MalformedXML"),
        ("POST", "/images/?delete", {"body": b"<Delete><Object><Key/></Object></Delete>"}, "MalformedXML"),
        ("GET", "/images/a?Expires=1&SOHUCSAccessKeyId=AKTEST&Signature=x", {}, "AccessDenied"),
    ],
)  # fmt: skip
async def test_foreign_request_is_refused(send, method, target, options, code):
    status, body = await send(method, target, **options)
    assert status >= 400
    assert f"<Code>{code}</Code>" in body


async def test_bad_range_is_refused(send):
    await send("PUT", "/images/a", headers={"Content-Type": TYPE}, body=b"x")
    assert (await send("GET", "/images/a", headers={"Range": "bytes=1-"}))[0] == 416
    assert await send("GET", "/images/a", headers={"Range": "bytes=-1"}) == (206, "x")


async def test_unsigned_header_breaks_signature(server, send):
    """A vendor header that was added after signing."""
    status, body = await send("GET", "/images/a", headers={"X-Scs-Date": "now"}, resource="/images/a")
    assert status == 403
    assert "SignatureDoesNotMatch" in body


@pytest.fixture
async def upload(server, send):
    headers = {"Content-Type": TYPE}
    _, body = await send("POST", "/images/a?uploads", headers=headers)
    upload_id = body.partition("<UploadId>")[2].partition("<")[0]

    async def put(number: int, size: int, **headers) -> str:
        content = bytes(size)
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        headers = {"Content-MD5": md5} | headers
        await send("PUT", f"/images/a?partNumber={number}&uploadId={upload_id}", headers=headers, body=content)
        return f"<Part><PartNumber>{number}</PartNumber><ETag>{md5}</ETag></Part>"

    async def complete(*parts: str):
        body = f"<CompleteMultipartUpload>{''.join(parts)}</CompleteMultipartUpload>"
        return await send("POST", f"/images/a?uploadId={upload_id}", body=body.encode())

    return put, complete


async def test_parts_make_object(send, upload):
    put, complete = upload
    parts = [await put(1, 5 * 1024 * 1024), await put(3, 7)]
    assert (await complete(*parts))[0] == 200
    assert len((await send("GET", "/images/a"))[1]) == 5 * 1024 * 1024 + 7
    assert "<Upload>" not in (await send("GET", "/images/?uploads"))[1]


async def test_parts_out_of_order_are_refused(upload):
    put, complete = upload
    parts = [await put(1, 5 * 1024 * 1024), await put(2, 5 * 1024 * 1024)]
    assert "InvalidPartOrder" in (await complete(*reversed(parts)))[1]
    assert "InvalidPartOrder" in (await complete())[1]


async def test_short_middle_part_is_refused(upload):
    put, complete = upload
    assert "EntityTooSmall" in (await complete(await put(1, 5), await put(2, 5)))[1]


async def test_unknown_part_is_refused(upload):
    put, complete = upload
    part = await put(1, 5)
    assert "InvalidPart<" in (await complete(part, part.replace(">1<", ">2<")))[1]


async def test_part_needs_hex_md5(server, upload):
    put, complete = upload
    part = await put(1, 5, **{"Content-MD5": "ypxJGsZrLGJQCILpPzcZqA=="})
    assert "InvalidPart<" in (await complete(part))[1]


@pytest.mark.parametrize("server", ["python"], indirect=True)
async def test_log_contains_each_request(server, send):
    await send("GET", "/images/a")
    assert [str(entry).split() for entry in server.log] == [["get_object", "404", "GET", "/images/a"]]


async def test_store_for_measurements_accepts_only_the_signatures_of_the_sdk(replayed):
    """The recorded requests without their bodies, and once more with another signature."""
    accepted, tampered = [], []
    async with aiohttp.ClientSession(skip_auto_headers={"Content-Type"}) as client:

        async def replay(vector, target, authorization):
            headers = {**vector["headers"], **({"Authorization": authorization} if authorization else {})}
            url = URL(replayed.url + target, encoded=True)
            async with client.request(vector["method"], url, headers=headers) as answer:
                return answer.status

        for vector in VECTORS["requests"]:
            target, authorization = vector["target"], vector.get("authorization", "")
            accepted.append(await replay(vector, target, authorization))
            changed = target if authorization else target.replace("Signature=", "Signature=A")
            tampered.append(await replay(vector, changed, authorization.replace(":", ":A")))
    assert 403 not in accepted
    # One request is refused for its content type before its signature is verified.
    assert sorted(tampered) == [400] + [403] * (len(tampered) - 1)
