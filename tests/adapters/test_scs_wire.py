"""Requests to SCS: hosts, redirects, presigned URLs, and errors at start."""

import aiohttp
import pytest

from adapters.blob_storage.s3.options import MIB
from adapters.blob_storage.scs import REGIONS, ScsOptions
from adapters.blob_storage.scs.endpoints import endpoint_host
from adapters.blob_storage.scs.storage import ScsBlobStorage
from core.errors import StorageUnavailableError
from core.model.secret import Secret
from tests.support.scs_server import FakeScsServer
from tests.support.scs_server.faults import Fault
from tests.support.scs_storage import scs_options, scs_storage
from tests.support.streams import payload


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("bjcnc", "bjcnc.scs.sohucs.com"),
        ("gzctc", "gzctc.scs.sohucs.com"),
        ("bjctc-internal", "bjctc.scs-in.sohucs.com"),
        ("shctc-internal", "shctc.scs-in.sohucs.com"),
    ],
)
def test_region_determines_the_host(region, host):
    assert endpoint_host(region) == host


def test_error_of_an_unknown_region_lists_the_regions():
    with pytest.raises(ValueError, match="'bjcnq'") as caught:
        ScsBlobStorage(ScsOptions(access_key="a", secret_key=Secret("hush"), region="bjcnq", bucket="images"))
    assert all(region in str(caught.value) for region in REGIONS)
    assert len(REGIONS) == 8


def test_options_hide_secret():
    assert "hush" not in repr(ScsOptions(access_key="a", secret_key=Secret("hush"), region="bjcnc", bucket="b"))


def test_options_are_plain_http_and_lower_case():
    options = ScsOptions(access_key="a", secret_key=Secret("b"), region="bjcnc-internal", bucket="Images").as_s3()
    assert options.url(options.region_endpoint) == "http://bjcnc.scs-in.sohucs.com"
    assert options.bucket == "images"


def test_endpoint_replaces_host_of_region():
    options = ScsOptions(
        access_key="a", secret_key=Secret("b"), region="own", bucket="b", endpoint="s:8080", secure=True
    )
    assert options.as_s3().url(options.as_s3().region_endpoint) == "https://s:8080"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"secret_key": Secret("wrong-hush")},
            r"SignatureDoesNotMatch.*storage\.scs\.accesskey.*storage\.scs\.secretkey",
        ),
        ({"access_key": "nobody"}, r"InvalidAccessKeyId.*storage\.scs\.accesskey"),
        ({"bucket": "other"}, r"bucket 'other' does not exist.*storage\.scs\.bucket"),
        ({"endpoint": "127.0.0.1:1"}, r"cannot reach the store.*region.*endpoint"),
    ],
)
async def test_wrong_setting_is_reported_at_start_in_one_line(server, changes, told):
    with pytest.raises(StorageUnavailableError, match=told) as caught:
        async with ScsBlobStorage(scs_options(server, **changes)):
            pytest.fail("it opened")
    assert "hush" not in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_closed_storage_is_an_error(storage):
    await storage.__aexit__(None, None, None)
    with pytest.raises(RuntimeError, match="not open"):
        await storage.check()


async def test_redirect_is_followed_with_new_signature(server):
    """All operations are repeated at the host that a 307 names; the first host keeps no byte."""
    content = payload(12 * MIB)
    async with FakeScsServer() as other, scs_storage(server) as storage:
        server.redirect_to = other.url
        async with storage.open_writer("/r/_uploads/1/data") as writer:
            await writer.write(content)
            await writer.commit("/target")
        assert await storage.read("/target", limit=len(content)) == content
        await storage.delete(["/target"])
        assert {entry.status for entry in server.log} == {307}
        assert {entry.status for entry in other.log} == {200, 204}
        assert [entry.target for entry in server.log] == [entry.target for entry in other.log]


async def test_endless_redirects_are_an_error(server, storage):
    server.redirect_to = server.url
    with pytest.raises(StorageUnavailableError):
        await storage.check()


async def test_redirect_url_serves_only_get(server, storage):
    await storage.write("/a/b", b"content")
    url = await storage.redirect_url("/a/b", method="GET")
    assert await storage.redirect_url("/a/b", method="HEAD") is None
    async with aiohttp.ClientSession() as client:
        async with client.get(url) as answer:
            assert (answer.status, await answer.read()) == (200, b"content")
        async with client.get(url, headers={"Range": "bytes=1-3"}) as answer:
            assert (answer.status, await answer.read()) == (206, b"ont")
        for refused in (client.head(url), client.put(url, data=b"x"), client.get(url.replace("/a/b", "/a/c"))):
            async with refused as answer:
                assert answer.status in {400, 403}
    assert "SKTEST" not in url


async def test_objects_are_octet_streams(server, storage):
    await storage.write("/a", b"")
    assert server.buckets["images"].get("a").content_type == "application/octet-stream"


async def test_keys_equal_those_of_the_fork(server, storage):
    await storage.write("/docker/registry/v2/x", b"")
    assert server.objects() == ["docker/registry/v2/x"]


async def test_fault_in_probe_does_not_stop_start(server):
    server.faults.arm("list_objects", Fault.RESET_BEFORE)
    async with scs_storage(server) as storage:
        await storage.check()
