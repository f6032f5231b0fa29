"""Responses for damaged content, and its repair by pushes."""

import pytest
from aiohttp import ClientError

from adapters.metrics.prometheus import SingleProcessMetrics
from config.container.observers import damage_counter
from core.model.digest import Digest
from core.model.media_types import OCI_MANIFEST
from core.store import layout
from tests.http.conftest import error_codes
from tests.support.content import image_manifest
from tests.support.metrics import Scrape
from tests.support.streams import payload

SMALL, LARGE = payload(1000), payload(1_000_000)


async def damage(api, digest, content):
    await api.services.storage.write(layout.blob_data(digest), content)


async def test_damaged_blob_is_reported_as_damaged(api, caplog):
    digest = await api.push_blob("a", SMALL)
    await damage(api, digest, SMALL[::-1])
    for headers in ({}, {"Range": "bytes=0-9"}):
        async with api.request("GET", f"/v2/a/blobs/{digest}", headers=headers) as response:
            assert response.status == 500
            assert await error_codes(response) == ["DATA_DAMAGED"]
            assert digest in await response.text()
    assert digest in caplog.text
    assert "Traceback" not in caplog.text


async def test_large_damaged_blob_is_cut_off(api, caplog):
    digest = await api.push_blob("a", LARGE)
    await damage(api, digest, LARGE[::-1])
    async with api.request("GET", f"/v2/a/blobs/{digest}") as response:
        assert response.status == 200
        with pytest.raises(ClientError):
            await response.read()
    assert "response aborted" in caplog.text
    assert "Traceback" not in caplog.text


async def test_push_after_a_failed_pull_repairs_a_blob(api):
    digest = await api.push_blob("a", SMALL)
    await damage(api, digest, SMALL[::-1])
    async with api.request("GET", f"/v2/a/blobs/{digest}"):
        pass
    async with api.request("HEAD", f"/v2/a/blobs/{digest}") as response:
        assert response.status == 404
    async with api.request("POST", f"/v2/b/blobs/uploads/?mount={digest}&from=a") as response:
        assert response.status == 202
    await api.push_blob("a", SMALL)
    async with api.request("GET", f"/v2/a/blobs/{digest}") as response:
        assert await response.read() == SMALL


async def test_push_after_a_failed_pull_repairs_a_manifest(api, caplog):
    await api.push_blob("a", b"{}")
    manifest = image_manifest()
    await api.push_manifest("a", "v1", manifest, OCI_MANIFEST)
    await damage(api, Digest.of(manifest), manifest + b" ")
    for reference in ("v1", Digest.of(manifest)):
        async with api.request("GET", f"/v2/a/manifests/{reference}") as response:
            assert (response.status, await error_codes(response)) == (500, ["DATA_DAMAGED"])
        async with api.request("HEAD", f"/v2/a/manifests/{reference}") as response:
            assert response.status == 404
    assert "Traceback" not in caplog.text
    await api.push_manifest("a", "v1", manifest, OCI_MANIFEST)
    async with api.request("GET", "/v2/a/manifests/v1") as response:
        assert await response.read() == manifest


def test_damage_is_counted_if_metrics_are_enabled():
    metrics = SingleProcessMetrics()
    damage_counter(metrics)()
    damage_counter(None)()
    text, _ = metrics.render("")
    assert Scrape(text.decode()).total("registry_damaged_content_total") == 1


async def test_image_of_a_damaged_blob_is_pushed_again(api):
    await api.push_blob("a", b"{}")
    layer = await api.push_blob("a", SMALL)
    await api.push_manifest("a", "v1", image_manifest(b"{}", [SMALL]), OCI_MANIFEST)
    await damage(api, layer, SMALL[::-1])
    async with api.request("GET", f"/v2/a/blobs/{layer}"):
        pass
    await api.services.damage.poll()
    for method, status in (("HEAD", 404), ("GET", 200)):
        async with api.request(method, "/v2/a/manifests/v1") as response:
            assert response.status == status
