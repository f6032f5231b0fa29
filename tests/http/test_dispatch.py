"""Paths, methods and flags."""

import re
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from yarl import URL

from adapters.blob_storage.memory import InMemoryBlobStorage
from config.settings import Settings
from core.coordination.read_only import ReadOnlySwitch
from core.model.digest import Digest
from entrypoints.http.dispatch import Dispatcher
from entrypoints.http.routes import Resource, Target, match
from entrypoints.http.runtime_flags import RuntimeFlags
from tests.http.conftest import error_codes

DIGEST = Digest.of(b"")


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/v2", Target(Resource.BASE)),
        ("/v2/", Target(Resource.BASE)),
        ("/v2/_catalog", Target(Resource.CATALOG)),
        ("/v1/search", Target(Resource.V1_SEARCH)),
        ("/v1/_ping", Target(Resource.V1_PING)),
        ("/v2/_sohu/registry/search", Target(Resource.SEARCH)),
        ("/v2/_sohu/registry/search/x", None),
        ("/v2/a/tags/list", Target(Resource.TAG_LIST, "a")),
        ("/v2/a/tags/list/", Target(Resource.TAG_LIST, "a")),
        ("/v2/a/b/manifests/1.0", Target(Resource.MANIFEST, "a/b", "1.0")),
        ("/v2/manifests/manifests/manifests", Target(Resource.MANIFEST, "manifests", "manifests")),
        ("/v2/a/blobs/x", Target(Resource.BLOB, "a", "x")),
        ("/v2/a/blobs/uploads", Target(Resource.UPLOADS, "a")),
        ("/v2/a/blobs/uploads/", Target(Resource.UPLOADS, "a")),
        ("/v2/a/blobs/uploads/id", Target(Resource.UPLOAD, "a", "id")),
        ("/v2/a/blobs/uploads/blobs/uploads/id", Target(Resource.UPLOAD, "a/blobs/uploads", "id")),
        ("/v2/a/referrers/x", Target(Resource.REFERRERS, "a", "x")),
        ("/v2/a/b/_oci/tag-history/v1", Target(Resource.TAG_HISTORY, "a/b", "v1")),
        *[(path, None) for path in ("/v2/_oci/tag-history/v1", "/v2/a/tag-history/v1", "/v2/a/_sohu/tag-history/v1")],
        *[
            (path, None)
            for path in ("/", "/v1/", "/v1/search/", "/v2x", "/v2/a", "/v2/a/b", "/v2/manifests/x", "/v2//tags/list")
        ],
        *[(path, None) for path in ("/v2/a/tags/other", "/v2/a/uploads/x", "/v2/a/manifests//")],
    ],
)
def test_path_leads_to_its_resource(path, target):
    assert match(path) == target


def test_endpoint_without_handler_fails_at_start():
    storage = InMemoryBlobStorage(now=lambda: datetime.now(UTC))
    read_only = ReadOnlySwitch(storage, clock=time.monotonic, now=lambda: datetime.now(UTC))
    flags = RuntimeFlags(Settings(), read_only)
    with pytest.raises(ValueError, match="without a handler"):
        Dispatcher({}, prefix="/", flags=flags, extras={})


async def test_base_endpoint_identifies_a_registry(api):
    async with api.request("GET", "/v2/") as response:
        assert (response.status, await response.text()) == (200, "{}")
        assert response.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
        assert response.headers["Content-Length"] == "2"


async def raw_request(guarded, line, settings=None):
    """The status line and Location of what answers a request line that clients would clean."""
    server = await guarded(settings) if settings else await guarded()
    head = (await server.exchange(f"{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())).decode()
    location = re.search("\r\nLocation: (.*)\r\n", head)
    return int(head.split(" ", 2)[1]), location[1] if location else None


@pytest.mark.parametrize(
    ("line", "status", "location"),
    [
        ("GET //v2/", 301, "/v2/"),
        ("HEAD /v2//_catalog?n=5&last=a//b", 301, "/v2/_catalog?n=5&last=a//b"),
        ("GET ///v2//team///app/manifests//v1", 301, "/v2/team/app/manifests/v1"),
        ("GET //v2/a/manifests/%C3%A9%22", 301, "/v2/a/manifests/%C3%A9%22"),
        ("GET //v2/a/manifests/<a>&", 301, "/v2/a/manifests/%3Ca%3E&"),
        ("PUT /v2//a/manifests/v1", 308, "/v2/a/manifests/v1"),
        ("POST //v2/a/blobs/uploads/", 308, "/v2/a/blobs/uploads/"),
        # Where nothing of ours is, nothing is redirected, least of all to another host.
        ("GET //other.host/", 404, None),
        ("GET //other.host/v2/", 404, None),
        ("GET /\\other.host//v2/", 404, None),
        ("GET //", 404, None),
        # No doubled slash on the wire: one that is decoded must not be redirected to itself.
        ("GET /v2/%2F_catalog", 404, None),
    ],
)
async def test_doubled_slashes_redirect_to_the_clean_path(guarded, line, status, location):
    assert await raw_request(guarded, line) == (status, location)


async def test_doubled_slashes_before_a_prefix_redirect_to_it(guarded):
    settings = replace(Settings(), http=replace(Settings().http, prefix="/registry/"))
    assert await raw_request(guarded, "GET //registry//v2/", settings) == (301, "/registry/v2/")
    assert await raw_request(guarded, "GET //v2/", settings) == (404, None)


async def test_root_answers_load_balancers(api):
    async with api.request("GET", "/") as response:
        assert (response.status, await response.read()) == (200, b"")


async def test_unknown_path_is_404_with_an_error_document(api):
    async with api.request("GET", "/v2/a/b/c") as response:
        assert response.status == 404
        assert await error_codes(response) == ["NAME_UNKNOWN"]


async def test_other_method_is_405_with_an_error_document(api):
    async with api.request("POST", "/v2/a/tags/list") as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET")
        assert await error_codes(response) == ["UNSUPPORTED"]
    async with api.request("OPTIONS", "/v2/a/manifests/x") as response:
        assert (response.status, response.headers["Allow"]) == (200, "GET, HEAD, PUT, DELETE")


@pytest.mark.parametrize(
    "path",
    [
        "/v2/A/tags/list",
        "/v2/a..b/tags/list",
        "/v2/a/..%2f..%2fb/tags/list",
        "/v2/%2e%2e/tags/list",
        "/v2/" + "a" * 256 + "/tags/list",
        "/v2/a%00/tags/list",
        "/v2/a%0d%0aX:1/tags/list",
        "/v2/host:5000/a/tags/list",
    ],
)
async def test_illegal_name_is_400(api, path):
    # yarl would normalise the dots away before they are sent.
    async with api.session.get(URL(api.root + path, encoded=True)) as response:
        assert response.status in {400, 404}
        assert (await error_codes(response))[0] in {"NAME_INVALID", "NAME_UNKNOWN"}


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/v2/a/manifests/-x", "TAG_INVALID"),
        ("GET", "/v2/a/manifests/sha256:00", "DIGEST_INVALID"),
        ("GET", "/v2/a/manifests/md5:00", "DIGEST_INVALID"),
        ("GET", "/v2/a/blobs/latest", "DIGEST_INVALID"),
        ("DELETE", "/v2/a/blobs/latest", "DIGEST_INVALID"),
        ("GET", "/v2/a/referrers/latest", "DIGEST_INVALID"),
        ("PUT", "/v2/a/manifests/.x", "TAG_INVALID"),
        ("GET", "/v2/a/tags/list?n=x", "PAGINATION_NUMBER_INVALID"),
        ("GET", "/v2/_catalog?n=-1", "PAGINATION_NUMBER_INVALID"),
        ("GET", "/v2/_catalog?n=100000", "PAGINATION_NUMBER_INVALID"),
    ],
)
async def test_malformed_input_is_400(api, method, path, code):
    async with api.request(method, path) as response:
        assert response.status == 400
        assert await error_codes(response) == [code]


async def test_prefix_moves_the_api(start):
    settings = replace(Settings(), http=replace(Settings().http, prefix="/my/registry/"))
    api = await start(settings)
    async with api.request("GET", "/my/registry/v2/") as response:
        assert response.status == 200
    async with api.request("GET", "/v2/") as response:
        assert response.status == 404
    async with api.request("POST", "/my/registry/v2/a/blobs/uploads/") as response:
        assert response.headers["Location"].startswith(f"{api.root}/my/registry/v2/a/blobs/uploads/")


async def test_deleting_can_be_switched_off(start):
    settings = replace(Settings(), storage=replace(Settings().storage, delete_enabled=False))
    api = await start(settings)
    for path in (f"/v2/a/manifests/{DIGEST}", "/v2/a/manifests/x", f"/v2/a/blobs/{DIGEST}"):
        async with api.request("DELETE", path) as response:
            assert response.status == 405
            assert await error_codes(response) == ["UNSUPPORTED"]


async def test_read_only_registry_refuses_writes(start):
    writable = await start()
    await writable.push_blob("a", b"content")
    settings = replace(Settings(), storage=replace(Settings().storage, readonly_enabled=True))
    api = await start(settings)
    for method, path in (
        ("POST", "/v2/a/blobs/uploads/"),
        ("PUT", "/v2/a/manifests/x"),
        ("DELETE", f"/v2/a/blobs/{DIGEST}"),
    ):
        async with api.request(method, path) as response:
            assert response.status == 405
            assert response.headers["Allow"] == "GET, HEAD"
            assert "read-only" in await response.text()
    async with api.request("GET", f"/v2/a/blobs/{Digest.of(b'content')}") as response:
        assert response.status == 200
