import pytest
from aiohttp import ClientError

from core import layout
from core.digest import Digest
from core.errors import StorageUnavailableError
from core.names import RepositoryName
from tests.http.conftest import error_codes
from tests.support.streams import payload

CONTENT = payload(2048)
DIGEST = Digest.of(CONTENT)
URL = f"/v2/a/b/blobs/{DIGEST}"


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
    ],
)
async def test_range_is_206(api, value, first, end):
    async with api.request("GET", URL, headers={"Range": value}) as response:
        assert response.status == 206
        assert await response.read() == CONTENT[first:end]
        assert response.headers["Content-Range"] == f"bytes {first}-{end - 1}/2048"
        assert response.headers["Content-Length"] == str(end - first)


@pytest.mark.usefixtures("blob")
@pytest.mark.parametrize("value", ["bytes=2048-", "bytes=5000-6000", "bytes=-0", "bytes=500-0", "bytes=x-", "bytes=-"])
async def test_range_that_cannot_be_is_416(api, value):
    async with api.request("GET", URL, headers={"Range": value}) as response:
        assert response.status == 416
        assert response.headers["Content-Range"] == "bytes */2048"
        assert await error_codes(response) == ["RANGE_INVALID"]


@pytest.mark.usefixtures("blob")
@pytest.mark.parametrize("value", ["lines=0-1", "bytes=0-1,3-4"])
async def test_range_that_need_not_be_served_is_the_whole(api, value):
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
    async with api.request(method, URL, headers={"If-None-Match": '"other"'}) as response:
        assert response.status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_unknown_blob_is_404(api, method):
    async with api.request(method, URL) as response:
        assert response.status == 404
        if method != "HEAD":
            assert await error_codes(response) == ["BLOB_UNKNOWN"]


@pytest.mark.usefixtures("blob")
async def test_delete_removes_the_link_alone(api):
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
async def test_store_that_offers_a_url_is_where_clients_go(api, monkeypatch):
    async def redirect_url(_self, _key, *, method):
        return "https://store/signed" if method == "GET" else None

    monkeypatch.setattr(type(api.services.storage), "redirect_url", redirect_url)
    async with api.request("GET", URL) as response:
        assert (response.status, response.headers["Location"]) == (307, "https://store/signed")
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
async def test_failure_of_the_store_is_told_where_nothing_was_sent(api, monkeypatch):
    """A small blob is there whole before its head is sent."""
    async with api.services.blobs.open(RepositoryName("a/b"), DIGEST) as reader:
        kind = type(reader)

    async def broken(_self):
        yield CONTENT[:100]
        raise StorageUnavailableError("the store went away")

    monkeypatch.setattr(kind, "__aiter__", broken)
    async with api.request("GET", URL) as response:
        assert (response.status, await error_codes(response)) == (503, ["UNAVAILABLE"])
