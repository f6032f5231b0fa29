"""Summaries of manifests: of images, indexes, artifacts, schema 1 and foreign documents; whatever clients pushed."""

import json
from datetime import UTC, datetime

import pytest

from core.model.digest import Digest
from core.model.manifest import read_manifest
from core.model.media_types import DOCKER_SCHEMA1
from core.summaries.manifest_summary import (
    TEXT_BYTES_MAX,
    ManifestSummary,
    PlatformSummary,
    summarize,
    summarize_foreign,
    summarize_schema1,
)
from tests.support.content import image_index, image_manifest

CONFIG = json.dumps(
    {
        "os": "linux",
        "architecture": "arm64",
        "variant": "v8",
        "created": "2026-01-02T03:04:05+01:00",
        "config": {"Labels": {"team": "web"}},
    }
).encode()


def summary_of(content, *, config=None, children=None):
    return summarize(read_manifest(content), Digest.of(content), config=config, children=children or {})


def test_an_image_is_summarized_with_its_config():
    content = image_manifest(CONFIG, [b"layer", b"layer", b"other"], annotations={"a": "b"})
    found = summary_of(content, config=CONFIG)
    assert found.size == len(content) + len(CONFIG) + len(b"layer") + len(b"other"), "each blob counts once"
    assert found.platforms == (
        PlatformSummary(os="linux", architecture="arm64", variant="v8", digest=Digest.of(content), size=found.size),
    )
    assert found.platforms[0].text == "linux/arm64/v8"
    assert found.created == datetime(2026, 1, 2, 2, 4, 5, tzinfo=UTC)
    assert (found.labels, found.annotations) == ({"team": "web"}, {"a": "b"})
    assert found.is_complete
    assert found.weight > 800


def test_an_index_counts_shared_blobs_once_and_attestations_are_no_platforms():
    images = [image_manifest(b"{}", [b"shared", layer]) for layer in (b"one", b"two!")]
    children = {Digest.of(image): summary_of(image) for image in images}
    document = json.loads(image_index(images))
    document["manifests"][0]["platform"] = {"os": "linux", "architecture": "amd64"}
    document["manifests"][1]["platform"] = {"os": "unknown", "architecture": "unknown"}
    content = json.dumps(document).encode()
    found = summary_of(content, children=children)
    blobs = sum(map(len, [b"{}", b"shared", b"one", b"two!"]))
    assert found.size == len(content) + sum(map(len, images)) + blobs
    assert [platform.text for platform in found.platforms] == ["linux/amd64"]
    assert found.platforms[0].size == children[Digest.of(images[0])].size


def test_an_index_without_its_children_is_incomplete():
    image = image_manifest()
    document = json.loads(image_index([image]))
    document["manifests"][0]["platform"] = {"os": "linux", "architecture": "amd64"}
    found = summary_of(json.dumps(document).encode())
    assert not found.is_complete
    assert found.platforms[0].size == 0


@pytest.mark.parametrize(
    "config",
    [
        b"",
        b"{",
        b"[]",
        b"[" * 400_000,
        b'{"config": []}',
        b'{"config": {"Labels": []}}',
        b'{"created": "yesterday"}',
        b'{"created": "2026-01-02T03:04:05"}',
        b'{"created": "0001-01-01T00:00:00+14:00"}',
        b'{"os": "linux"}',
    ],
    ids=lambda content: str(content[:40]),
)
def test_a_config_that_no_image_has_gives_no_details(config):
    found = summary_of(image_manifest(), config=config)
    assert (found.created, dict(found.labels), found.platforms) == (None, {}, ())


def test_the_creation_time_may_come_from_the_annotation():
    content = image_manifest(annotations={"org.opencontainers.image.created": "2026-01-02T03:04:05Z"})
    assert summary_of(content).created == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_labels_and_names_are_bounded_and_can_be_encoded():
    labels = {"big": "x" * TEXT_BYTES_MAX, "fits": "y", "surrogate": "\ud800", "number": 7}
    config = json.dumps({"os": "o" * 100, "architecture": "a", "config": {"Labels": labels}}).encode()
    found = summary_of(image_manifest(artifactType="t" * 300), config=config)
    assert found.labels == {"fits": "y", "surrogate": "\ufffd", "number": "7"}
    assert found.platforms[0].os == "o" * 64
    assert found.artifact_type == ""


def test_a_subject_and_an_artifact_type_are_kept():
    subject = image_manifest()
    descriptor = {"mediaType": "a/b", "digest": Digest.of(subject), "size": len(subject)}
    found = summary_of(image_manifest(subject=descriptor, artifactType="application/sbom"))
    assert (found.subject, found.artifact_type) == (Digest.of(subject), "application/sbom")


def test_a_manifest_may_claim_any_size():
    document = json.loads(image_manifest(b"{}", [b"layer"]))
    document["layers"][0]["size"] = 10**4_000
    found = summary_of(json.dumps(document).encode())
    assert found.size < 2**64


def test_an_entry_of_an_index_without_a_platform_has_those_of_its_manifest():
    """As `crane push --index` writes it: the index of an image layout, with the index of the image within."""
    image = image_manifest(CONFIG, [b"layer"])
    inner = image_index([image])
    outer = image_index([inner])
    of_image = summary_of(image, config=CONFIG)
    of_inner = summary_of(inner, children={Digest.of(image): of_image})
    assert of_inner.platforms == of_image.platforms
    assert summary_of(outer, children={Digest.of(inner): of_inner}).platforms == of_image.platforms


def test_a_platform_that_is_no_object_is_ignored():
    image = image_manifest()
    document = json.loads(image_index([image]))
    document["manifests"][0]["platform"] = None
    assert summary_of(json.dumps(document).encode()).platforms == ()


@pytest.mark.parametrize("history", [None, [], ["text"], [{"v1Compatibility": 1}]])
def test_schema_1_without_history_has_no_details(history):
    content = json.dumps({"schemaVersion": 1, "history": history}).encode()
    found = summarize_schema1(content, Digest.of(content), {})
    assert found == ManifestSummary(
        digest=Digest.of(content), media_type=DOCKER_SCHEMA1, contents={Digest.of(content): len(content)}
    )


def test_schema_1_is_summarized_from_its_history():
    content = json.dumps({"schemaVersion": 1, "history": [{"v1Compatibility": CONFIG.decode()}]}).encode()
    layer = Digest.of(b"layer")
    found = summarize_schema1(content, Digest.of(content), {layer: 5})
    assert found.size == len(content) + 5
    assert found.labels == {"team": "web"}
    assert found.platforms[0].text == "linux/arm64/v8"


def test_a_foreign_document_has_media_type_and_size():
    found = summarize_foreign(b"{}", Digest.of(b"{}"), "application/vnd.example+json")
    assert (found.media_type, found.size) == ("application/vnd.example+json", 2)
