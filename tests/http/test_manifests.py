import json
from io import BytesIO
from typing import Any

import pytest
from aiohttp import ClientError

from core.model import media_types
from core.model.digest import Digest
from core.model.manifest import PUSHED_MANIFEST_BYTES_MAX
from core.model.names import RepositoryName
from core.store import layout
from tests.http.conftest import error_codes
from tests.support.content import descriptor, image_index, image_manifest

OCI = media_types.OCI_MANIFEST
IMAGE = image_manifest(b"{}", [b"layer"])
DIGEST = Digest.of(IMAGE)
URL = "/v2/a/b/manifests/x"


@pytest.fixture
async def blobs(api):
    await api.push_blob("a/b", b"{}")
    await api.push_blob("a/b", b"layer")


@pytest.fixture
async def image(api, blobs):
    await api.push_manifest("a/b", "latest", IMAGE, OCI)


@pytest.mark.usefixtures("image")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("reference", ["latest", DIGEST])
@pytest.mark.parametrize("accept", [None, "*/*", "text/html", media_types.DOCKER_MANIFEST])
async def test_manifest_is_served_as_it_was_stored(api, method, reference, accept):
    headers = {"Accept": accept} if accept else {}
    async with api.request(method, f"/v2/a/b/manifests/{reference}", headers=headers) as response:
        assert response.status == 200
        assert await response.read() == (IMAGE if method == "GET" else b"")
        assert response.headers["Content-Type"] == OCI
        assert response.headers["Content-Length"] == str(len(IMAGE))
        assert response.headers["Docker-Content-Digest"] == DIGEST
        assert response.headers["ETag"] == f'"{DIGEST}"'


@pytest.mark.usefixtures("image")
@pytest.mark.parametrize("value", [f'"{DIGEST}"', DIGEST])
async def test_if_none_match_is_304(api, value):
    async with api.request("GET", "/v2/a/b/manifests/latest", headers={"If-None-Match": value}) as response:
        assert response.status == 304


@pytest.mark.usefixtures("blobs")
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_push_by_digest_with_tags(api, algorithm):
    digest = Digest.of(IMAGE, algorithm)
    url = f"/v2/a/b/manifests/{digest}?tag=one&tag=two&tag=one"
    async with api.request("PUT", url, data=IMAGE, headers={"Content-Type": OCI}) as response:
        assert response.status == 201
        assert response.headers["Docker-Content-Digest"] == digest
        assert response.headers["Location"] == f"{api.root}/v2/a/b/manifests/{digest}"
        assert response.headers.getall("OCI-Tag") == ["one", "two"]
        assert "OCI-Subject" not in response.headers
    async with api.request("HEAD", "/v2/a/b/manifests/two") as response:
        assert response.headers["Docker-Content-Digest"] == digest


@pytest.mark.usefixtures("blobs")
async def test_too_many_tags_are_refused(api):
    query = "&".join(f"tag=t{number}" for number in range(101))
    async with api.request("PUT", f"/v2/a/b/manifests/{DIGEST}?{query}", data=IMAGE) as response:
        assert response.status == 400
        assert await error_codes(response) == ["TAG_INVALID"]


@pytest.mark.usefixtures("blobs")
async def test_subject_is_named_in_the_answer(api):
    subject = descriptor(b"absent", OCI)
    content = image_manifest(b"{}", [b"layer"], subject=subject)
    async with api.request("PUT", "/v2/a/b/manifests/x", data=content, headers={"Content-Type": OCI}) as response:
        assert (response.status, response.headers["OCI-Subject"]) == (201, Digest.of(b"absent"))


@pytest.mark.usefixtures("blobs")
@pytest.mark.parametrize(
    ("reference", "content", "media_type", "status", "code"),
    [
        ("x", b"no json", OCI, 400, "MANIFEST_INVALID"),
        ("x", IMAGE, "application/vnd.docker.distribution.manifest.v1+prettyjws", 400, "MANIFEST_INVALID"),
        ("x", IMAGE, media_types.DOCKER_MANIFEST, 400, "MANIFEST_INVALID"),
        ("x", b" " * (PUSHED_MANIFEST_BYTES_MAX + 1), OCI, 413, "MANIFEST_INVALID"),
        (Digest.of(b""), IMAGE, OCI, 400, "DIGEST_INVALID"),
        ("x", image_manifest(b"absent"), OCI, 400, "MANIFEST_BLOB_UNKNOWN"),
        ("x", image_index([b"absent"]), media_types.OCI_INDEX, 400, "MANIFEST_BLOB_UNKNOWN"),
    ],
)
async def test_bad_manifest_is_refused(*, api, reference, content, media_type, status, code):
    headers = {"Content-Type": media_type}
    async with api.request("PUT", f"/v2/a/b/manifests/{reference}", data=BytesIO(content), headers=headers) as response:
        assert response.status == status
        assert await error_codes(response) == [code]
    async with api.request("GET", "/v2/a/b/manifests/x") as response:
        assert response.status == 404


async def test_each_missing_blob_is_an_error_of_its_own(api):
    async with api.request("PUT", "/v2/a/b/manifests/x", data=IMAGE, headers={"Content-Type": OCI}) as response:
        errors = (await response.json())["errors"]
    assert [(entry["code"], entry["detail"]) for entry in errors] == [
        ("MANIFEST_BLOB_UNKNOWN", Digest.of(b"{}")),
        ("MANIFEST_BLOB_UNKNOWN", Digest.of(b"layer")),
    ]


async def test_at_most_a_hundred_missing_blobs_are_named(api):
    content = image_manifest(b"{}", [b"%d" % number for number in range(5000)])
    assert len(content) > 512 * 1024
    async with api.request(
        "PUT", "/v2/a/b/manifests/x", data=BytesIO(content), headers={"Content-Type": OCI}
    ) as response:
        assert await error_codes(response) == ["MANIFEST_BLOB_UNKNOWN"] * 100


async def test_more_layers_than_any_image_has_are_refused(api):
    content = image_manifest(b"{}", [b"%d" % number for number in range(20_000)])
    async with api.request(
        "PUT", "/v2/a/b/manifests/x", data=BytesIO(content), headers={"Content-Type": OCI}
    ) as response:
        assert (response.status, await error_codes(response)) == (400, ["MANIFEST_INVALID"])


async def test_text_that_cannot_be_sent_in_a_header_is_refused(api):
    content = image_manifest(annotations={"a": "\ud800"})
    async with api.request(
        "PUT", "/v2/a/b/manifests/x", data=BytesIO(content), headers={"Content-Type": OCI}
    ) as response:
        assert (response.status, await error_codes(response)) == (400, ["MANIFEST_INVALID"])


@pytest.mark.parametrize("annotation", ["text", "\ud800"])
async def test_stored_manifest_of_a_foreign_type_is_served_and_listed(api, services, annotation):
    """Registries stored artifact manifests of OCI 1.1's release candidates, and text that no encoding has."""
    media_type = "application/vnd.oci.artifact.manifest.v1+json"
    subject = descriptor(IMAGE, OCI)
    content = json.dumps({"mediaType": media_type, "subject": subject, "annotations": {"a": annotation}}).encode()
    digest, name = Digest.of(content), RepositoryName("a/b")
    await services.storage.write(layout.blob_data(digest), content)
    for link in (layout.revision_link(name, digest), layout.referrer_link(name, DIGEST, digest)):
        await services.links.write(link, digest)
    async with api.request("GET", f"/v2/a/b/manifests/{digest}") as response:
        assert (response.status, response.headers["Content-Type"]) == (200, media_type)
        assert await response.read() == content
    async with api.request("GET", f"/v2/a/b/referrers/{DIGEST}") as response:
        [entry] = (await response.json())["manifests"]
    assert (entry["mediaType"], entry["digest"]) == (media_type, digest)
    assert entry["annotations"] == {"a": annotation.replace("\ud800", "\ufffd")}


@pytest.mark.usefixtures("image")
@pytest.mark.parametrize("media_type", ["application/vnd.acme.v1", "application/vnd.acme.manifest.v1+json"])
async def test_index_may_list_blobs_and_manifests_under_any_type(api, media_type):
    """As docker-registry 2.8, whose users push such indexes."""
    entries = [descriptor(content, media_type) for content in (b"layer", IMAGE)]
    document: dict[str, Any] = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": entries}
    index = json.dumps(document).encode()
    await api.push_manifest("a/b", "both", index, media_types.OCI_INDEX)
    async with api.request("GET", "/v2/a/b/manifests/both") as response:
        assert (response.status, await response.read()) == (200, index)
    document["manifests"].append(descriptor(b"missing", media_type))
    headers = {"Content-Type": media_types.OCI_INDEX}
    async with api.request("PUT", "/v2/a/b/manifests/both", json=document, headers=headers) as response:
        assert (response.status, await error_codes(response)) == (400, ["MANIFEST_BLOB_UNKNOWN"])


@pytest.mark.usefixtures("blobs")
async def test_manifest_of_four_mebibytes_is_accepted(api):
    content = json.dumps(json.loads(IMAGE) | {"annotations": {"filler": ""}}).encode()
    content = content.replace(
        b'"filler": ""', b'"filler": "' + b"x" * (PUSHED_MANIFEST_BYTES_MAX - len(content)) + b'"'
    )
    assert len(content) == PUSHED_MANIFEST_BYTES_MAX
    await api.push_manifest("a/b", "big", content, OCI)
    async with api.request("GET", "/v2/a/b/manifests/big") as response:
        assert await response.read() == content


@pytest.mark.usefixtures("blobs")
async def test_body_without_a_length_is_bounded(api):
    async def endless():
        for _ in range(200):
            yield b" " * 65536

    try:
        async with api.request("PUT", "/v2/a/b/manifests/x", data=endless(), headers={"Content-Type": OCI}) as response:
            assert response.status == 413
    except ClientError:
        # The server may close while the client still sends: nothing was stored, which is what counts.
        pass
    async with api.request("GET", "/v2/a/b/manifests/x") as response:
        assert response.status == 404


@pytest.mark.usefixtures("image")
async def test_delete_by_tag_removes_only_that_tag(api):
    await api.push_manifest("a/b", "other", IMAGE, OCI)
    async with api.request("DELETE", "/v2/a/b/manifests/latest") as response:
        assert (response.status, response.headers["Content-Length"]) == (202, "0")
    async with api.request("GET", "/v2/a/b/manifests/latest") as response:
        assert response.status == 404
        assert await error_codes(response) == ["MANIFEST_UNKNOWN"]
    for reference in ("other", DIGEST):
        async with api.request("GET", f"/v2/a/b/manifests/{reference}") as response:
            assert response.status == 200


@pytest.mark.usefixtures("image")
async def test_delete_by_digest_removes_tags_and_keeps_layers(api):
    async with api.request("DELETE", f"/v2/a/b/manifests/{DIGEST}") as response:
        assert response.status == 202
    for reference in ("latest", DIGEST):
        async with api.request("GET", f"/v2/a/b/manifests/{reference}") as response:
            assert response.status == 404
    async with api.request("GET", f"/v2/a/b/blobs/{Digest.of(b'layer')}") as response:
        assert response.status == 200
    async with api.request("DELETE", f"/v2/a/b/manifests/{DIGEST}") as response:
        assert response.status == 404
