"""Schema 1 as Sohu's fork and registry 2.1 left it in storage."""

import base64
import json

import pytest

from core.errors import ManifestUnknownError, StorageCorruptError
from core.model import media_types
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.model.schema1 import is_schema1, join_signatures
from core.store import layout
from tests.support.streams import payload as random_bytes

NAME = RepositoryName("team/old")
PAYLOAD = json.dumps(
    {"schemaVersion": 1, "name": "team/old", "tag": "1", "fsLayers": [], "history": []}, indent=3
).encode()
DIGEST = Digest.of(PAYLOAD)
HEAD_BYTES = len(PAYLOAD) - 2
"""Where the payload ends but for its last line and brace: the `formatLength`."""


def unpadded(raw):
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def signature(key_id, *, length=HEAD_BYTES, tail=b"\n}"):
    """The form that distribution stores: one JSON object whose `protected` part names the end of the payload."""
    protected = {"formatLength": length, "formatTail": unpadded(tail), "time": "2016-02-23T10:11:12Z"}
    return json.dumps(
        {
            "header": {"jwk": {"crv": "P-256", "kid": key_id, "kty": "EC", "x": "x", "y": "y"}, "alg": "ES256"},
            "signature": "c2ln",
            "protected": unpadded(json.dumps(protected).encode()),
        },
        separators=(",", ":"),
    ).encode()


async def store(services, link, *signatures):
    await services.storage.write(layout.blob_data(DIGEST), PAYLOAD)
    await services.links.write(link, DIGEST)
    for each in signatures:
        digest = Digest.of(each)
        await services.storage.write(layout.blob_data(digest), each)
        key = f"{layout.signatures(NAME, DIGEST)}/{digest.algorithm}/{digest.encoded}/link"
        await services.links.write(key, digest)


async def test_signatures_are_joined_as_libtrust_does(services):
    await store(services, layout.revision_link(NAME, DIGEST), signature("A"), signature("B"))
    await services.tag_links.point(NAME, Tag("1"), DIGEST)
    for reference in (Tag("1"), DIGEST):
        stored = await services.manifests.get(NAME, reference)
        assert (stored.media_type, stored.digest) == (media_types.DOCKER_SCHEMA1_SIGNED, DIGEST)
        document = json.loads(stored.content)
        assert [each["header"]["jwk"]["kid"] for each in document["signatures"]] == ["A", "B"]
        # Clients join the text of the protected length and the protected tail to the payload.
        assert stored.content[: len(PAYLOAD) - 2] + b"\n}" == PAYLOAD
        assert stored.content.startswith(PAYLOAD[:-2] + b',\n   "signatures": [\n      {\n         "header": {\n')
        assert stored.content.endswith(b"\n   ]\n}")


async def test_payload_without_signatures_is_served_unsigned(services):
    await store(services, layout.revision_link(NAME, DIGEST))
    stored = await services.manifests.get(NAME, DIGEST)
    assert (stored.content, stored.media_type) == (PAYLOAD, media_types.DOCKER_SCHEMA1)


async def test_manifest_linked_among_the_layers_is_found(services):
    await store(services, layout.layer_link(NAME, DIGEST))
    assert (await services.manifests.get(NAME, DIGEST)).content == PAYLOAD
    await services.manifests.delete(NAME, DIGEST)
    with pytest.raises(ManifestUnknownError):
        await services.manifests.get(NAME, DIGEST)


async def test_nested_signature_is_damage(services):
    await store(services, layout.revision_link(NAME, DIGEST), b"[" * 10_000)
    with pytest.raises(StorageCorruptError):
        await services.manifests.get(NAME, DIGEST)


@pytest.mark.parametrize("content", [b"a layer", b'{"schemaVersion": 2}', b"[" * 10_000, random_bytes(1_100_000)])
async def test_layer_is_no_manifest(services, content):
    digest = await services.push_blob(NAME, content)
    with pytest.raises(ManifestUnknownError):
        await services.manifests.get(NAME, digest)
    await services.storage.delete([layout.blob_data(digest)])
    with pytest.raises(ManifestUnknownError):
        await services.manifests.get(NAME, digest)


@pytest.mark.parametrize(
    "broken",
    [
        b"{}",
        b"no json",
        b'{"protected": "e30"}',
        b'{"protected": "!"}',
        b'{"protected": 5}',
        signature("A", length=10_000),
        signature("A", length=0),
    ],
)
async def test_broken_signature_is_not_served(services, broken):
    await store(services, layout.revision_link(NAME, DIGEST), broken)
    with pytest.raises(StorageCorruptError):
        await services.manifests.get(NAME, DIGEST)


async def test_lost_signature_is_not_served(services):
    await store(services, layout.revision_link(NAME, DIGEST), signature("A"))
    await services.storage.delete([layout.blob_data(Digest.of(signature("A")))])
    with pytest.raises(StorageCorruptError, match="missing"):
        await services.manifests.get(NAME, DIGEST)


async def test_dangling_link_of_a_signature_is_skipped(services):
    await store(services, layout.revision_link(NAME, DIGEST), signature("A"))
    await services.storage.write(f"{layout.signatures(NAME, DIGEST)}/sha256/00/link", b"nonsense")
    assert (await services.manifests.get(NAME, DIGEST)).media_type == media_types.DOCKER_SCHEMA1_SIGNED


def test_only_schema_1_manifests_are_recognized():
    assert is_schema1(PAYLOAD)
    assert not is_schema1(b"[1]")
    assert not is_schema1(b"\xff")
    assert json.loads(join_signatures(PAYLOAD, [signature("A")]))["schemaVersion"] == 1
