import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DigestInvalidError, ManifestInvalidError
from core.model import media_types
from core.model.digest import Digest
from core.model.manifest import DESCRIPTORS_MAX, is_served, parse_manifest, read_manifest, stored_media_type
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


def test_image_manifest_lists_its_blobs():
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
def test_index_lists_its_children(media_type):
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
        (b"[" * 4_000 + b"]" * 4_000, "deeper than 500 levels"),
        (b'{"a": [1,, 2]}', "Expecting value: line 1 column 10"),
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


def test_docker_manifest_needs_its_media_type():
    with pytest.raises(ManifestInvalidError, match="Content-Type"):
        parse_manifest(edited(mediaType=None), media_types.DOCKER_MANIFEST)
    assert parse_manifest(edited(mediaType=media_types.DOCKER_MANIFEST), media_types.DOCKER_MANIFEST).config


@pytest.mark.parametrize("content_type", [media_types.DOCKER_SCHEMA1_SIGNED, "text/html", "application/x"])
def test_unsupported_type_is_refused(content_type):
    with pytest.raises(ManifestInvalidError):
        parse_manifest(image_manifest(), content_type)


@pytest.mark.parametrize("own", ["text/html", "application/x"])
def test_stored_manifest_of_an_unknown_type_is_served_under_it(own):
    assert stored_media_type(edited(mediaType=own)) == own
    assert is_served(edited(mediaType=own))
    with pytest.raises(ManifestInvalidError, match="unsupported"):
        read_manifest(edited(mediaType=own))


@pytest.mark.parametrize("content", [edited(mediaType="a b/c"), edited(mediaType="a/b\r\nX: y"), b"[]", b"\xff"])
def test_stored_manifest_without_a_media_type_is_not_served(content):
    assert not is_served(content)


def test_artifact_manifest_of_a_release_candidate_is_read():
    document = {
        "mediaType": "application/vnd.oci.artifact.manifest.v1+json",
        "artifactType": "application/x-sbom",
        "blobs": [descriptor(b"sbom", "text/plain")],
        "subject": SUBJECT,
        "annotations": {"k": "v"},
    }
    manifest = read_manifest(json.dumps(document).encode())
    assert [blob.digest for blob in manifest.blobs()] == [Digest.of(b"sbom")]
    assert manifest.subject is not None
    assert manifest.describe(Digest.of(b"x")).artifact_type == "application/x-sbom"
    with pytest.raises(ManifestInvalidError, match="unsupported"):
        parse_manifest(json.dumps(document).encode(), str(document["mediaType"]))


@pytest.mark.parametrize("media_type", [media_types.OCI_INDEX, media_types.DOCKER_MANIFEST_LIST])
def test_index_entries_of_unknown_type_may_be_blobs(media_type):
    """BuildKit's registry cache lists layers and the configuration of the cache."""
    entries = [
        descriptor(b"layer", "application/vnd.oci.image.layer.v1.tar+gzip"),
        descriptor(b"cache", "application/vnd.buildkit.cacheconfig.v0"),
        descriptor(b"artifact", "application/vnd.oci.artifact.manifest.v1+json"),
        descriptor(b"image", media_types.OCI_MANIFEST),
        descriptor(b"untyped", ""),
    ]
    document = {"schemaVersion": 2, "mediaType": media_type, "manifests": entries}
    manifest = parse_manifest(json.dumps(document).encode(), media_type)
    assert [blob.digest for blob in manifest.others] == [Digest.of(each) for each in (b"layer", b"cache", b"artifact")]
    assert manifest.blobs() == manifest.others
    assert [child.digest for child in manifest.manifests] == [Digest.of(b"image"), Digest.of(b"untyped")]


SURROGATES = {"annotations": {"k": "\ud800"}, "artifactType": "\udfff", "x-unknown": [{"\udc00": 1}]}


@pytest.mark.parametrize("member", SURROGATES)
def test_text_that_cannot_be_encoded_is_refused(member):
    with pytest.raises(ManifestInvalidError, match="surrogate"):
        parse_manifest(edited(**{member: SURROGATES[member]}), media_types.OCI_MANIFEST)


def test_surrogate_pairs_are_valid_text():
    manifest = parse_manifest(edited(annotations={"k": "\U0001f433"}), media_types.OCI_MANIFEST)
    assert manifest.annotations == {"k": "\U0001f433"}


def test_stored_text_that_cannot_be_encoded_is_listed_with_a_replacement():
    manifest = read_manifest(edited(annotations={"a\ud800": "b\udfff"}, artifactType="x\ud800"))
    assert manifest.annotations == {"a\ufffd": "b\ufffd"}
    assert manifest.artifact_type == "x\ufffd"


@pytest.mark.parametrize("member", ["layers", "manifests"])
def test_number_of_entries_is_bounded_before_they_are_read(member):
    media_type = media_types.OCI_MANIFEST if member == "layers" else media_types.OCI_INDEX
    document = {"schemaVersion": 2, "mediaType": media_type, member: [0] * (DESCRIPTORS_MAX + 1)}
    with pytest.raises(ManifestInvalidError, match="more than 10000 entries"):
        parse_manifest(json.dumps(document).encode(), media_type)


@pytest.mark.parametrize("part", [b"[]", b"{}", b"0"])
def test_number_of_parts_is_bounded_before_they_are_parsed(part):
    """Descriptors are not all that memory goes to; the end shows that no parser saw this."""
    content = b'{"schemaVersion":2,"x":[' + b",".join([part] * 300_001) + b"] no JSON"
    with pytest.raises(ManifestInvalidError, match="too many lists"):
        parse_manifest(content, media_types.OCI_MANIFEST)


def test_manifest_with_the_most_entries_is_within_the_limit_of_parts():
    entry = descriptor(b"layer", media_types.OCTET_STREAM) | {"annotations": {f"key{n}": "v" for n in range(8)}}
    content = edited(layers=[entry] * DESCRIPTORS_MAX)
    assert len(parse_manifest(content, media_types.OCI_MANIFEST).layers) == DESCRIPTORS_MAX


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
def test_any_document_is_parsed_or_refused(document):
    content = json.dumps(document).encode()
    try:
        manifest = read_manifest(content)
    except (ManifestInvalidError, DigestInvalidError):
        return
    assert manifest.content == content
