"""The upload state machine, as clients drive it."""

import asyncio
import gzip
import re

import pytest

from core.model.digest import Digest
from core.model.names import RepositoryName
from core.store import layout
from tests.http.conftest import error_codes
from tests.support.quiet import settle
from tests.support.streams import payload

CONTENT = payload(100_000)
DIGEST = Digest.of(CONTENT)
UPLOADS = "/v2/a/b/blobs/uploads/"


async def begin(api, query=""):
    async with api.request("POST", UPLOADS + query) as response:
        assert response.status == 202, await response.text()
        assert response.headers["Range"] == "0-0"
        assert response.headers["Content-Length"] == "0"
        assert re.fullmatch(r"[0-9a-f-]{36}", response.headers["Docker-Upload-UUID"])
        return response.headers["Location"]


async def patch(api, location, data, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with api.request("PATCH", location, data=data, headers=named) as response:
        assert response.status == 202, await response.text()
        return response.headers["Location"], response.headers["Range"]


async def finish(api, location, digest=DIGEST, data=b""):
    async with api.request("PUT", f"{location}&digest={digest}", data=data) as response:
        assert response.status == 201, await response.text()
        assert response.headers["Docker-Content-Digest"] == digest
        assert response.headers["Location"] == f"{api.root}/v2/a/b/blobs/{digest}"


async def pulled(api, digest=DIGEST, name="a/b"):
    async with api.request("GET", f"/v2/{name}/blobs/{digest}") as response:
        assert response.status == 200
        return await response.read()


async def test_post_then_put(api):
    await finish(api, await begin(api), data=CONTENT)
    assert await pulled(api) == CONTENT


async def test_post_patch_put(api):
    location, reached = await patch(api, await begin(api), CONTENT)
    assert reached == "0-99999"
    await finish(api, location)
    assert await pulled(api) == CONTENT
    await api.services.uploads.sweep()
    assert await api.services.keys() == {
        layout.blob_data(DIGEST),
        layout.layer_link(RepositoryName("a/b"), DIGEST),
    }


async def test_chunked_transfer_encoding(api):
    async def pieces():
        for start in range(0, len(CONTENT), 30_000):
            yield CONTENT[start : start + 30_000]

    location, _ = await patch(api, await begin(api), pieces())
    await finish(api, location)


async def test_chunks_in_order(api):
    location = await begin(api)
    for start, end in ((0, 40_000), (40_000, 90_000)):
        location, reached = await patch(api, location, CONTENT[start:end], Content_Range=f"{start}-{end - 1}")
        assert reached == f"0-{end - 1}"
    await finish(api, location, data=CONTENT[90_000:])
    assert await pulled(api) == CONTENT


@pytest.mark.parametrize("value", ["5-9", "50000-50009", "x", "9-5", "bytes 5-9/20"])
async def test_chunk_out_of_order_is_416_and_recoverable(api, value):
    status = location = (await patch(api, await begin(api), CONTENT[:10]))[0]
    for method, suffix in (("PATCH", ""), ("PUT", f"&digest={DIGEST}")):
        headers = {"Content-Range": value}
        async with api.request(method, location + suffix, data=b"12345", headers=headers) as response:
            assert (response.status, response.headers["Range"]) == (416, "0-9")
            assert await error_codes(response) == ["BLOB_UPLOAD_INVALID"]
            status = response.headers["Location"]
    async with api.request("GET", status) as response:
        assert (response.status, response.headers["Range"]) == (204, "0-9")
        location = response.headers["Location"]
    location, _ = await patch(api, location, CONTENT[10:])
    await finish(api, location)


async def test_chunk_of_another_length_is_400(api):
    async with api.request("PATCH", await begin(api), data=b"123", headers={"Content-Range": "0-9"}) as response:
        assert response.status == 400
        assert await error_codes(response) == ["SIZE_INVALID"]


async def test_stale_location_is_416(api):
    location = await begin(api)
    await patch(api, location, b"12345")
    async with api.request("PATCH", location, data=b"12345") as response:
        assert (response.status, response.headers["Range"]) == (416, "0-4")


async def test_location_without_state_is_accepted(api):
    location, _ = await patch(api, await begin(api), CONTENT[:50_000])
    plain = location.partition("?")[0]
    location, reached = await patch(api, plain, CONTENT[50_000:])
    assert reached == "0-99999"
    async with api.request("PUT", f"{plain}?digest={DIGEST}") as response:
        assert response.status == 201


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_status_contains_the_offset(api, method):
    location, _ = await patch(api, await begin(api), b"12345")
    async with api.request(method, location) as response:
        assert (response.status, response.headers["Range"]) == (204, "0-4")
        assert "Docker-Upload-UUID" in response.headers


async def test_cancelled_session_is_unknown(api):
    location, _ = await patch(api, await begin(api), b"12345")
    async with api.request("DELETE", location) as response:
        assert response.status == 204
    for method, suffix in (("GET", ""), ("PATCH", ""), ("PUT", f"&digest={DIGEST}"), ("DELETE", "")):
        async with api.request(method, location + suffix, data=b"" if method in {"PATCH", "PUT"} else None) as response:
            assert response.status in {404, 416}
            assert (await error_codes(response))[0].startswith("BLOB_UPLOAD")
    assert await api.services.keys() == set()


async def test_whole_blob_in_the_post(api):
    async with api.request("POST", f"{UPLOADS}?digest={DIGEST}", data=CONTENT) as response:
        assert (response.status, response.headers["Docker-Content-Digest"]) == (201, DIGEST)
    assert await pulled(api) == CONTENT


async def test_empty_blob_in_the_post(api):
    empty = Digest.of(b"")
    async with api.request("POST", f"{UPLOADS}?digest={empty}") as response:
        assert response.status == 201
    assert await pulled(api, empty) == b""


async def test_post_with_digest_and_without_body_begins_a_session(api):
    await finish(api, await begin(api, f"?digest={DIGEST}"), data=CONTENT)


async def test_announced_algorithm_is_used(api):
    digest = Digest.of(CONTENT, "sha512")
    location, _ = await patch(api, await begin(api, "?digest-algorithm=sha512"), CONTENT)
    await finish(api, location, digest)
    assert await pulled(api, digest) == CONTENT


@pytest.mark.parametrize(
    ("method", "query"),
    [("POST", "?digest=nonsense"), ("POST", f"?digest={Digest.of(b'other')}"), ("POST", "?digest-algorithm=md5")],
)
async def test_bad_digest_in_the_post_is_400(api, method, query):
    async with api.request(method, UPLOADS + query, data=b"bytes") as response:
        assert response.status == 400
        assert await error_codes(response) == ["DIGEST_INVALID"]
    assert await api.services.keys() == set()


@pytest.mark.parametrize("suffix", ["", "&digest=", "&digest=nonsense", f"&digest={Digest.of(b'other')}"])
async def test_bad_digest_in_the_put_is_400_and_can_be_corrected(api, suffix):
    location, _ = await patch(api, await begin(api), CONTENT)
    async with api.request("PUT", location + suffix) as response:
        assert response.status == 400
        assert await error_codes(response) == ["DIGEST_INVALID"]
    await finish(api, location)


async def test_state_signed_with_another_secret_is_refused(api, start):
    other = await start(secret=b"another secret")
    location = await begin(other)
    query = location.partition("?")[2]
    upload_id = location.partition("?")[0].rpartition("/")[2]
    async with api.request("PATCH", f"{UPLOADS}{upload_id}?{query}", data=b"x") as response:
        assert response.status == 404
        assert await error_codes(response) == ["BLOB_UPLOAD_INVALID"]
        assert "http.secret" in await response.text()


@pytest.mark.parametrize("query", ["", "?_state=nonsense"])
async def test_unknown_session_is_404(api, query):
    for method in ("GET", "PATCH", "DELETE"):
        async with api.request(method, f"{UPLOADS}00000000-0000-4000-8000-00000000ffff{query}") as response:
            assert response.status == 404
            assert await error_codes(response) == ["BLOB_UPLOAD_UNKNOWN"]


async def test_another_replica_takes_the_next_piece(api, start):
    other = await start()
    location, _ = await patch(api, await begin(api), CONTENT[:10])
    location = location.replace(api.root, other.root)
    location, _ = await patch(other, location, CONTENT[10:])
    await finish(api, location.replace(other.root, api.root))
    assert await pulled(other) == CONTENT


async def test_cut_connection_keeps_what_arrived(api):
    location = await begin(api)
    host, _, port = api.root.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    target = location.removeprefix(api.root)
    writer.write(f"PATCH {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n".encode() + CONTENT[:60_000])
    await writer.drain()
    await settle()
    writer.close()
    await writer.wait_closed()
    assert reader.at_eof() or await reader.read() == b""

    async def arrived():
        while True:
            async with api.request("GET", location) as response:
                if response.headers["Range"] == "0-59999":
                    return response.headers["Location"]
            await asyncio.sleep(0.01)

    location = await asyncio.wait_for(arrived(), 60)
    location, _ = await patch(api, location, CONTENT[60_000:])
    await finish(api, location)
    assert await pulled(api) == CONTENT


async def test_mount_from_a_repository(api):
    await api.push_blob("source", CONTENT)
    async with api.request("POST", f"{UPLOADS}?mount={DIGEST}&from=source") as response:
        assert (response.status, response.headers["Docker-Content-Digest"]) == (201, DIGEST)
    assert await pulled(api) == CONTENT


async def test_mount_from_anywhere(api):
    await api.push_blob("source", CONTENT)
    async with api.request("POST", f"{UPLOADS}?mount={DIGEST}") as response:
        assert response.status == 201


@pytest.mark.parametrize(
    "query", [f"?mount={DIGEST}&from=source", f"?mount={DIGEST}", "?mount=nonsense&from=a", f"?mount={DIGEST}&from=.."]
)
async def test_mount_that_fails_begins_a_session(api, query):
    await finish(api, await begin(api, query), data=CONTENT)


async def test_same_blob_from_many_clients_at_once(api):
    async def push():
        location, _ = await patch(api, await begin(api), CONTENT)
        await finish(api, location)

    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(push())
    assert await pulled(api) == CONTENT


async def test_body_with_content_encoding_is_stored_unchanged(api):
    content = gzip.compress(b"layer")
    digest = Digest.of(content)
    async with api.request(
        "POST", f"{UPLOADS}?digest={digest}", data=content, headers={"Content-Encoding": "gzip"}
    ) as response:
        assert response.status == 201, await response.text()
    assert await pulled(api, digest) == content
