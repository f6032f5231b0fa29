"""The entries of an index: platforms, attestations about them, missing ones."""

from core.inspection.indexes import held_children, read_index
from core.model.digest import Digest
from core.summaries.manifest_summary import ManifestSummary, PlatformSummary

IMAGE, OTHER, INDEX = (Digest.of(content) for content in (b"image", b"other", b"index"))
IMAGE_TYPE = "application/vnd.oci.image.config.v1+json"


def child(digest, *platforms, artifact_type=IMAGE_TYPE):
    found = tuple(PlatformSummary(os=os, architecture=arch, digest=digest, size=9) for os, arch in platforms)
    contents = {digest: 10, Digest.of(b"layer"): 90}
    return ManifestSummary(
        digest=digest, media_type="m", artifact_type=artifact_type, contents=contents, platforms=found
    )


def index(*digests):
    return ManifestSummary(digest=INDEX, media_type="i", contents=dict.fromkeys((INDEX, *digests), 1))


def entry(digest, **members):
    return {"digest": digest, "size": 5, "mediaType": "m", **members}


def test_images_have_the_size_of_all_their_contents_and_missing_ones_are_marked():
    amd, windows = {"os": "linux", "architecture": "amd64"}, {"os": "windows", "architecture": "amd64"}
    document = {"manifests": [entry(IMAGE, platform=amd), entry(OTHER, platform={**windows, "os.version": "10.0"})]}
    parts = read_index(document, index(IMAGE), {IMAGE: child(IMAGE)})
    assert [(each.platform, each.size, each.is_held) for each in parts.images] == [
        ("linux/amd64", 100, True),
        ("windows/amd64 10.0", 5, False),
    ]


def test_a_platform_that_only_the_config_names_is_found():
    document = {"manifests": [entry(IMAGE), entry(OTHER)]}
    children = {IMAGE: child(IMAGE, ("linux", "s390x")), OTHER: child(OTHER)}
    parts = read_index(document, index(IMAGE, OTHER), children)
    assert [each.platform for each in parts.images] == ["linux/s390x", ""]


def test_attestations_are_apart_and_name_what_they_describe():
    unknown = {"os": "unknown", "architecture": "unknown"}
    about = {"vnd.docker.reference.digest": IMAGE}
    document = {
        "manifests": [entry(OTHER, platform=unknown, annotations=about), entry(OTHER, platform=unknown), entry("x")]
    }
    parts = read_index(document, None, {})
    assert [each.describes for each in parts.attestations] == [IMAGE, ""]
    assert [(each.digest, each.is_held) for each in parts.others] == [("x", None)]
    assert not parts.images


def test_only_held_entries_may_be_described():
    document = {"manifests": [entry(IMAGE), entry(OTHER), entry(INDEX), 7]}
    assert held_children(document, index(IMAGE, Digest.of(b"layer"))) == [IMAGE]
    assert held_children(document, None) == []


def test_entries_of_any_type_are_read():
    values: list[object] = [
        None,
        7,
        [],
        {},
        {"digest": [], "platform": 3, "size": "x", "annotations": "y", "mediaType": {}},
    ]
    assert len(read_index({"manifests": values}, index(), {}).others.items) == 5
    assert not read_index({"manifests": "x"}, index(), {}).others
