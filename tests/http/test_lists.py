import pytest

from core.model import media_types
from core.model.digest import Digest
from tests.http.conftest import error_codes
from tests.support.content import descriptor, image_manifest

OCI = media_types.OCI_MANIFEST


async def push(api, name, *tags, content=None):
    await api.push_blob(name, b"{}")
    for tag in tags:
        await api.push_manifest(name, tag, content or image_manifest(), OCI)


async def get(api, path):
    async with api.request("GET", path) as response:
        assert response.status == 200, await response.text()
        return await response.json(content_type=None), response.headers


def next_link(headers):
    return headers["Link"].removeprefix("<").removesuffix('>; rel="next"')


async def test_tags_are_sorted_and_paged(api):
    await push(api, "a/b", "2", "10", "1", "x")
    body, headers = await get(api, "/v2/a/b/tags/list")
    assert body == {"name": "a/b", "tags": ["1", "10", "2", "x"]}
    assert "Link" not in headers
    body, headers = await get(api, "/v2/a/b/tags/list?n=3")
    assert headers["Link"] == '</v2/a/b/tags/list?last=2&n=3>; rel="next"'
    assert body["tags"] == ["1", "10", "2"]
    body, headers = await get(api, next_link(headers))
    assert (body["tags"], "Link" in headers) == (["x"], False)


async def test_zero_tags_is_an_empty_page_without_link(api):
    await push(api, "a", "1")
    body, headers = await get(api, "/v2/a/tags/list?n=0")
    assert (body, "Link" in headers) == ({"name": "a", "tags": []}, False)


async def test_exactly_full_last_page_has_no_link(api):
    await push(api, "a", "1", "2")
    _, headers = await get(api, "/v2/a/tags/list?n=2")
    assert "Link" not in headers


async def test_tags_of_unknown_repository_are_404(api):
    async with api.request("GET", "/v2/a/tags/list") as response:
        assert response.status == 404
        assert await error_codes(response) == ["NAME_UNKNOWN"]


async def test_catalog_is_sorted_and_paged(api):
    for name in ("a/b", "a", "a-b", "a.b"):
        await push(api, name, "1")
    body, headers = await get(api, "/v2/_catalog")
    assert (body, "Link" in headers) == ({"repositories": ["a", "a-b", "a.b", "a/b"]}, False)
    body, headers = await get(api, "/v2/_catalog?n=3")
    assert (body["repositories"], headers["Link"]) == (
        ["a", "a-b", "a.b"],
        '</v2/_catalog?last=a.b&n=3>; rel="next"',
    )
    body, headers = await get(api, next_link(headers))
    assert (body["repositories"], "Link" in headers) == (["a/b"], False)
    body, _ = await get(api, "/v2/_catalog?n=0")
    assert body == {"repositories": []}


async def test_link_is_encoded(api):
    for name in ("a/b", "a/c"):
        await push(api, name, "1")
    _, headers = await get(api, "/v2/_catalog?n=1")
    assert headers["Link"] == '</v2/_catalog?last=a%2Fb&n=1>; rel="next"'


async def test_deletion_of_the_last_manifest_removes_the_repository_from_the_catalog(api):
    await push(api, "a", "1")
    await push(api, "b", "1")
    async with api.request("DELETE", f"/v2/a/manifests/{Digest.of(image_manifest())}") as response:
        assert response.status == 202
    body, _ = await get(api, "/v2/_catalog")
    assert body == {"repositories": ["b"]}


@pytest.fixture
async def referring(api):
    subject = descriptor(b"subject", OCI)
    manifests = [
        image_manifest(b"{}", subject=subject, artifactType=kind, annotations={"kind": kind}) for kind in ("a/x", "a/y")
    ]
    for manifest in manifests:
        await push(api, "a", Digest.of(manifest), content=manifest)
    return sorted(Digest.of(manifest) for manifest in manifests)


async def test_referrers_are_an_index(api, referring):
    body, headers = await get(api, f"/v2/a/referrers/{Digest.of(b'subject')}")
    assert headers["Content-Type"] == media_types.OCI_INDEX
    assert (body["schemaVersion"], body["mediaType"]) == (2, media_types.OCI_INDEX)
    assert [entry["digest"] for entry in body["manifests"]] == referring
    assert "OCI-Filters-Applied" not in headers


async def test_referrers_are_filtered_and_paged(api, referring):
    path = f"/v2/a/referrers/{Digest.of(b'subject')}"
    body, headers = await get(api, f"{path}?artifactType=a/y")
    assert headers["OCI-Filters-Applied"] == "artifactType"
    assert [entry["annotations"] for entry in body["manifests"]] == [{"kind": "a/y"}]
    body, headers = await get(api, f"{path}?n=1")
    assert [entry["digest"] for entry in body["manifests"]] == referring[:1]
    body, headers = await get(api, next_link(headers))
    assert [entry["digest"] for entry in body["manifests"]] == referring[1:]
    assert "Link" not in headers


async def test_unknown_digest_has_no_referrers(api):
    body, _ = await get(api, f"/v2/a/referrers/{Digest.of(b'unknown')}")
    assert body["manifests"] == []
