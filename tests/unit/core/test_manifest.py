import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import media_types
from core.digest import Digest
from core.errors import DigestInvalidError, ManifestInvalidError
from core.manifest import parse_manifest, read_manifest
from tests.support.content import CONFIG_MEDIA_TYPE, descriptor, image_index, image_manifest

SUBJECT = descriptor(b"subject", media_types.OCI_MANIFEST)


def edited(**changes):
    document = json.loads(image_manifest(b"{}", [b"layer"]))
    for member, value in changes.items():
        if value is None:
            document.pop(member, None)
        else:
            document[member] = value
    return json.dumps(document).encode()


def test_image_manifest_names_its_blobs():
    content = image_manifest(b"{}", [b"one", b"two"], subject=SUBJECT, artifactType="a/b", annotations={"k": "v"})
    manifest = parse_manifest(content, media_types.OCI_MANIFEST + "; charset=utf-8")
    assert manifest.content is content
    assert [blob.digest for blob in manifest.blobs()] == [Digest.of(b"{}"), Digest.of(b"one"), Digest.of(b"two")]
    assert manifest.subject is not None
    assert manifest.subject.digest == Digest.of(b"subject")
    assert not manifest.is_index
    assert manifest.describe(Digest.of(content)).as_json() == {
        "mediaType": media_types.OCI_MANIFEST,
        "digest": Digest.of(content),
        "size": len(content),
        "artifactType": "a/b",
        "annotations": {"k": "v"},
    }


def test_artifact_type_falls_back_to_the_config():
    content = image_manifest()
    assert parse_manifest(content, media_types.OCI_MANIFEST).describe(Digest.of(content)).artifact_type == (
        CONFIG_MEDIA_TYPE
    )


@pytest.mark.parametrize("media_type", sorted(media_types.INDEXES))
def test_index_names_its_children(media_type):
    child = image_manifest()
    document = json.loads(image_index([child], media_type=media_type))
    document["manifests"][0]["platform"] = {"os": "linux", "architecture": "amd64"}
    index = parse_manifest(json.dumps(document).encode(), media_type)
    assert index.is_index
    assert [(entry.digest, entry.platform) for entry in index.manifests] == [(Digest.of(child), ("linux", "amd64"))]
    assert index.blobs() == ()
    assert "artifactType" not in index.describe(Digest.of(index.content)).as_json()


@pytest.mark.parametrize("content_type", ["", "application/json", "application/octet-stream"])
def test_vague_content_type_is_read_from_the_document(content_type):
    assert parse_manifest(image_manifest(), content_type).media_type == media_types.OCI_MANIFEST
    assert parse_manifest(edited(mediaType=None), content_type).media_type == media_types.OCI_MANIFEST
    index = json.dumps({"schemaVersion": 2, "manifests": None}).encode()
    assert parse_manifest(index, content_type).media_type == media_types.OCI_INDEX
    assert read_manifest(index).manifests == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "JSON"),
        (b"[]", "object"),
        (b"\xff\xfe{\x00}\x00", "JSON"),
        (b"\xef\xbb\xbf{}", "JSON"),
        (b'{"schemaVersion": NaN}', "JSON"),
        (b"[" * 100_000, "JSON"),
        (b'{"schemaVersion": ' + b"1" * 5000 + b"}", "JSON"),
        (edited(schemaVersion=None), "schemaVersion"),
        (edited(schemaVersion=3), "schemaVersion"),
        (edited(schemaVersion="2"), "schemaVersion"),
        (edited(schemaVersion=1), "schema 1"),
        (edited(mediaType=media_types.DOCKER_MANIFEST), "Content-Type"),
        (edited(manifests=[]), "must not have"),
        (edited(config=None), "no config"),
        (edited(config=[]), "not a descriptor"),
        (edited(config={"size": 1}), "no digest"),
        (edited(config={"digest": Digest.of(b"")}), "no size"),
        (edited(config={"digest": Digest.of(b""), "size": -1}), "no size"),
        (edited(config={"digest": Digest.of(b""), "size": True}), "no size"),
        (edited(config={"digest": Digest.of(b""), "size": 1, "mediaType": 1}), "not a string"),
        (edited(layers={}), "not a list"),
        (edited(layers=[{"digest": Digest.of(b""), "size": 1, "urls": "x"}]), "not a list"),
        (edited(layers=[{"digest": Digest.of(b""), "size": 1, "urls": [1]}]), "not a string"),
        (edited(layers=[{"digest": Digest.of(b""), "size": 1, "platform": []}]), "not an object"),
        (edited(artifactType=1), "not a string"),
        (edited(annotations={"a": 1}), "map of strings"),
        (edited(annotations=[]), "map of strings"),
    ],
)
def test_invalid_manifest_is_refused(content, message):
    with pytest.raises(ManifestInvalidError, match=message):
        parse_manifest(content, media_types.OCI_MANIFEST)


def test_index_with_layers_is_refused():
    index = json.dumps({"schemaVersion": 2, "manifests": [], "layers": []}).encode()
    with pytest.raises(ManifestInvalidError, match="layers"):
        parse_manifest(index, media_types.OCI_INDEX)


def test_docker_manifest_must_say_its_type():
    with pytest.raises(ManifestInvalidError, match="Content-Type"):
        parse_manifest(edited(mediaType=None), media_types.DOCKER_MANIFEST)
    assert parse_manifest(edited(mediaType=media_types.DOCKER_MANIFEST), media_types.DOCKER_MANIFEST).config


@pytest.mark.parametrize("content_type", [media_types.DOCKER_SCHEMA1_SIGNED, "text/html", "application/x"])
def test_unsupported_type_is_refused(content_type):
    with pytest.raises(ManifestInvalidError):
        parse_manifest(image_manifest(), content_type)
    with pytest.raises(ManifestInvalidError, match="unsupported"):
        read_manifest(edited(mediaType=content_type))


def test_bad_digest_inside_is_refused():
    with pytest.raises(DigestInvalidError, match="sha384"):
        parse_manifest(edited(config={"digest": "sha384:" + "0" * 96, "size": 1}), media_types.OCI_MANIFEST)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(
            ["schemaVersion", "mediaType", "config", "layers", "manifests", "subject", "annotations", "artifactType"]
        ),
        json_values | st.just(2) | st.just([SUBJECT]) | st.just(SUBJECT),
    )
)
def test_any_document_is_read_or_refused(document):
    content = json.dumps(document).encode()
    try:
        manifest = read_manifest(content)
    except (ManifestInvalidError, DigestInvalidError):
        return
    assert manifest.content == content
