import email

import pytest
from aiohttp import ClientError

from core.errors import StorageUnavailableError
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.store import layout
from tests.http.conftest import error_codes
from tests.support.streams import payload

CONTENT = payload(2048)
DIGEST = Digest.of(CONTENT)
URL = f"/v2/a/b/blobs/{DIGEST}"
_UNSATISFIABLE_LISTS = ["bytes=2048-,5000-6000", "bytes=0-1,x", "bytes=0-1,9-5", "bytes=,"]


@pytest.fixture
async def blob(api):
    return await api.push_blob("a/b", CONTENT)


@pytest.mark.usefixtures("blob")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_blob_has_its_headers(api, method):
    async with api.request(method, URL) as response:
        assert response.status == 200
        assert await response.read() == (CONTENT if method == "GET" else b"")
        assert response.headers["Content-Length"] == "2048"
        assert response.headers["Content-Type"] == "application/octet-stream"
        assert response.headers["Docker-Content-Digest"] == DIGEST
        assert response.headers["ETag"] == f'"{DIGEST}"'
        assert response.headers["Accept-Ranges"] == "bytes"
        assert response.headers["Cache-Control"] == "max-age=31536000"


@pytest.mark.usefixtures("blob")
@pytest.mark.parametrize(
    ("value", "first", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=500-1499", 500, 1500),
        ("bytes=500-", 500, 2048),
        ("bytes=-500", 1548, 2048),
        ("bytes=-5000", 0, 2048),
        ("bytes=2000-5000", 2000, 2048),
        ("bytes=0-2047", 0, 2048),
        ("bytes=0-99,100-199", 0, 200),
        ("bytes=500-599,100-499", 100, 600),
        ("bytes=0-,100-199,-5", 0, 2048),
        ("bytes=100-199,5000-", 100, 200),
        ("bytes=100-199,", 100, 200),
    ],
)
async def test_range_is_206(api, value, first, end):
    async with api.request("GET", URL, headers={"Range": value}) as response:
        assert response.status == 206
        assert await response.read() == CONTENT[first:end]
        assert response.headers["Content-Range"] == f"bytes {first}-{end - 1}/2048"
        assert response.headers["Content-Length"] == str(end - first)


@pytest.mark.usefixtures("blob")
@pytest.mark.parametrize(
    "value", ["bytes=2048-", "bytes=5000-6000", "bytes=-0", "bytes=500-0", "bytes=x-", "bytes=-", *_UNSATISFIABLE_LISTS]
)
async def test_unsatisfiable_range_is_416(api, value):
    async with api.request("GET", URL, headers={"Range": value}) as response:
        assert response.status == 416
        assert response.headers["Content-Range"] == "bytes */2048"
        assert await error_codes(response) == ["RANGE_INVALID"]


def parts_of(response, body):
    """Content-Range and content of each part of a multipart answer, read as any client does."""
    head = f"Content-Type: {response.headers['Content-Type']}\r\n\r\n".encode()
    parts = list(email.message_from_bytes(head + body, policy=email.policy.default).iter_parts())
    assert {part["Content-Type"] for part in parts} == {"application/octet-stream"}
    return [(part["Content-Range"], part.get_payload(decode=True)) for part in parts]


async def get_parts(api, ranges, url=URL):
    async with api.request("GET", url, headers={"Range": ranges}) as response:
        body = await response.read()
        assert (response.status, response.content_type) == (206, "multipart/byteranges")
        assert response.headers["Content-Length"] == str(len(body))
        assert response.headers["Docker-Content-Digest"] == url.rpartition("/")[2]
        assert "Content-Range" not in response.headers
        return parts_of(response, body)


@pytest.mark.usefixtures("blob")
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes=100-199,208-300", [(100, 200), (208, 301)]),
        ("bytes=-8, 0-9", [(2040, 2048), (0, 10)]),
        ("bytes=0-9,2000-5000,5000-6000", [(0, 10), (2000, 2048)]),
        # What overlaps or touches is one part, at the place of the first.
        ("bytes=600-699,0-9,650-799,800-800,10-19", [(600, 801), (0, 20)]),
    ],
)
async def test_several_ranges_are_parts(api, value, expected):
    found = await get_parts(api, value)
    assert found == [(f"bytes {first}-{end - 1}/2048", CONTENT[first:end]) for first, end in expected]


@pytest.mark.usefixtures("blob")
@pytest.mark.parametrize("wanted", ["", "Range: bytes=5-1004\r\n"], ids=["whole", "range"])
async def test_head_and_small_blob_leave_in_one_write(guarded, monkeypatch, wanted):
    """Each write is a system call, and wakes the client."""
    writes = []
    server = await guarded()
    reader, writer = await server.connect()
    kind = type(writer.transport)
    write = kind.write

    def record(self, data):
        writes.append(bytes(data))
        write(self, data)

    monkeypatch.setattr(kind, "write", record)
    writer.write(f"GET {URL} HTTP/1.1\r\nHost: a\r\n{wanted}\r\n".encode())
    body = CONTENT[5:1005] if wanted else CONTENT
    await reader.readuntil(b"\r\n\r\n")
    assert await reader.readexactly(len(body)) == body
    answers = [data for data in writes if not data.startswith(b"GET ")]
    assert [data.partition(b"\r\n\r\n")[2] for data in answers] == [body]


async def test_longest_range_of_podman_is_accepted(guarded):
    """A `Range` that is refused with another status than 400 ends its pull."""
    server = await guarded()
    ranges = ",".join(f"{at}-{at + 1}" for at in range(9_999_900_000, 9_999_900_000 + 2 * 1024, 2))
    answer = await server.exchange(
        f"GET {URL} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nRange: bytes={ranges}\r\n\r\n".encode()
    )
    assert answer.startswith(b"HTTP/1.1 404 ")


@pytest.mark.usefixtures("blob")
@pytest.mark.parametrize(("count", "status"), [(1024, 206), (1025, 200)])
async def test_as_many_ranges_as_podman_requests_are_parts(guarded, count, status):
    server = await guarded()
    ranges = ",".join(["0-0"] * (count - 1024) + [f"{at}-{at}" for at in range(0, 2048, 2)])
    request = f"GET {URL} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nRange: bytes={ranges}\r\n\r\n"
    answer = await server.exchange(request.encode())
    assert int(answer.split(b" ", 2)[1]) == status
    assert answer.count(b"Content-Range: bytes ") == (1024 if status == 206 else 0)


@pytest.mark.usefixtures("blob")
async def test_boundary_differs_from_answer_to_answer(api):
    """A blob made to hold the boundary could pretend to be other parts."""
    seen = set()
    for _ in range(2):
        async with api.request("GET", URL, headers={"Range": "bytes=0-1,3-4"}) as response:
            seen.add(response.headers["Content-Type"])
    assert len(seen) == 2


@pytest.mark.usefixtures("blob")
async def test_several_ranges_of_an_unchanged_blob_are_304(api):
    headers = {"Range": "bytes=0-1,3-4", "If-None-Match": f'"{DIGEST}"'}
    async with api.request("GET", URL, headers=headers) as response:
        assert (response.status, await response.read()) == (304, b"")


@pytest.mark.usefixtures("blob")
@pytest.mark.parametrize("value", ["lines=0-1", "bytes 0-1"])
async def test_ignored_range_returns_the_whole_blob(api, value):
    async with api.request("GET", URL, headers={"Range": value}) as response:
        assert (response.status, await response.read()) == (200, CONTENT)


@pytest.mark.usefixtures("blob")
@pytest.mark.parametrize(("tag", "status"), [(f'"{DIGEST}"', 206), ('"other"', 200)])
async def test_if_range_guards_the_range(api, tag, status):
    async with api.request("GET", URL, headers={"Range": "bytes=0-1", "If-Range": tag}) as response:
        assert response.status == status


@pytest.mark.usefixtures("blob")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("value", [f'"{DIGEST}"', DIGEST, f'W/"{DIGEST}"', "*", f'"x", "{DIGEST}"'])
async def test_if_none_match_is_304(api, method, value):
    async with api.request(method, URL, headers={"If-None-Match": value}) as response:
        assert (response.status, await response.read()) == (304, b"")
        assert response.headers["ETag"] == f'"{DIGEST}"'
        assert response.headers["Cache-Control"] == "max-age=31536000"
    async with api.request(method, URL, headers={"If-None-Match": '"other"'}) as response:
        assert response.status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_unknown_blob_is_404(api, method):
    async with api.request(method, URL) as response:
        assert response.status == 404
        if method != "HEAD":
            assert await error_codes(response) == ["BLOB_UNKNOWN"]


@pytest.mark.usefixtures("blob")
async def test_delete_removes_only_the_link(api):
    async with api.request("DELETE", URL) as response:
        assert (response.status, response.headers["Content-Length"]) == (202, "0")
    async with api.request("GET", URL) as response:
        assert response.status == 404
    assert await api.services.keys(layout.REPOSITORIES) == set()
    assert await api.services.keys(layout.BLOBS) == {layout.blob_data(DIGEST)}


async def test_sha512_blob_keeps_its_digest(api):
    digest = await api.push_blob("a/b", CONTENT, "sha512")
    async with api.request("GET", f"/v2/a/b/blobs/{digest}") as response:
        assert response.headers["Docker-Content-Digest"] == digest


@pytest.mark.usefixtures("blob")
async def test_clients_are_redirected_to_a_url_of_the_store(api, monkeypatch):
    async def redirect_url(_self, _key, *, method):
        return "https://store/signed" if method == "GET" else None

    monkeypatch.setattr(type(api.services.storage), "redirect_url", redirect_url)
    async with api.request("GET", URL) as response:
        assert (response.status, response.headers["Location"]) == (307, "https://store/signed")
    async with api.request("GET", URL, headers={"Range": "bytes=0-1"}) as response:
        assert response.status == 307
    # The store would answer with the whole object.
    assert [content for _, content in await get_parts(api, "bytes=0-1,3-4")] == [CONTENT[:2], CONTENT[3:5]]
    async with api.request("HEAD", URL) as response:
        assert response.status == 200


async def test_failure_in_the_middle_of_a_body_ends_the_connection(api, monkeypatch):
    """A second answer after the first bytes would be taken for blob content."""
    large = payload(300_000)
    digest = await api.push_blob("a/b", large)
    async with api.services.blobs.open(RepositoryName("a/b"), digest) as reader:
        kind = type(reader)

    async def broken(_self):
        yield large[:100]
        raise StorageUnavailableError("the store went away")

    monkeypatch.setattr(kind, "__aiter__", broken)
    async with api.request("GET", f"/v2/a/b/blobs/{digest}") as response:
        assert response.status == 200
        with pytest.raises(ClientError):
            await response.read()


@pytest.mark.usefixtures("blob")
async def test_failure_of_the_store_before_the_body_is_an_error_response(api, monkeypatch):
    """A small blob is there whole before its head is sent."""
    async with api.services.blobs.open(RepositoryName("a/b"), DIGEST) as reader:
        kind = type(reader)

    async def broken(_self):
        yield CONTENT[:100]
        raise StorageUnavailableError("the store went away")

    monkeypatch.setattr(kind, "__aiter__", broken)
    async with api.request("GET", URL) as response:
        assert (response.status, await error_codes(response)) == (503, ["UNAVAILABLE"])


async def test_failure_at_a_later_part_ends_the_connection(api, monkeypatch):
    content = payload(1_000_000)
    digest = await api.push_blob("a/b", content)
    async with api.services.blobs.open(RepositoryName("a/b"), digest, length=1) as reader:
        kind, whole = type(reader), type(reader).__aiter__

    async def broken(self):
        if self.length != 1000:
            raise StorageUnavailableError("the store went away")
        async for piece in whole(self):
            yield piece

    monkeypatch.setattr(kind, "__aiter__", broken)
    headers = {"Range": "bytes=0-999,5000-899999"}
    async with api.request("GET", f"/v2/a/b/blobs/{digest}", headers=headers) as response:
        assert response.status == 206
        with pytest.raises(ClientError):
            await response.read()
    headers = {"Range": "bytes=0-998,5000-899999"}
    async with api.request("GET", f"/v2/a/b/blobs/{digest}", headers=headers) as response:
        assert response.status == 503
