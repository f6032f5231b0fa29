import json

import pytest

from core.model import media_types
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.registry import referrers
from core.store import layout
from tests.support.content import descriptor, image_index, image_manifest

NAME = RepositoryName("a/b")
SUBJECT = image_manifest(b"{}", [])
SUBJECT_DIGEST = Digest.of(SUBJECT)


def referring(artifact_type, **members):
    return image_manifest(
        b"{}", subject=descriptor(SUBJECT, media_types.OCI_MANIFEST), artifactType=artifact_type, **members
    )


SIGNATURE = referring("a/signature", annotations={"by": "me"})
SBOM = referring("a/sbom")


@pytest.fixture
async def pushed(services):
    await services.push_blob(NAME, b"{}")
    for manifest in (SIGNATURE, SBOM):
        result = await services.manifests.put(NAME, manifest, media_types.OCI_MANIFEST)
        assert result.subject == SUBJECT_DIGEST


async def digests(services, **query):
    found = await services.referrers.page(NAME, SUBJECT_DIGEST, **query)
    return [entry.digest for entry in found.items], found.has_more


@pytest.mark.usefixtures("pushed")
async def test_referrers_are_listed_by_digest(services):
    assert await digests(services) == (sorted([Digest.of(SIGNATURE), Digest.of(SBOM)]), False)
    entry = (await services.referrers.page(NAME, SUBJECT_DIGEST, artifact_type="a/signature")).items[0]
    assert entry.as_json() == {
        "mediaType": media_types.OCI_MANIFEST,
        "digest": Digest.of(SIGNATURE),
        "size": len(SIGNATURE),
        "artifactType": "a/signature",
        "annotations": {"by": "me"},
    }


async def test_unknown_subject_has_no_referrers(services):
    assert await digests(services) == ([], False)


@pytest.mark.usefixtures("pushed")
async def test_referrers_come_in_pages(services):
    first, second = sorted([Digest.of(SIGNATURE), Digest.of(SBOM)])
    assert await digests(services, n=0) == ([], False)
    assert await digests(services, n=1) == ([first], True)
    assert await digests(services, n=1, last=first) == ([second], False)
    assert await digests(services, artifact_type="a/none") == ([], False)


@pytest.mark.usefixtures("pushed")
async def test_page_is_bounded_in_bytes(services, monkeypatch):
    monkeypatch.setattr(referrers, "PAGE_BYTES_MAX", 300)
    items, more = await digests(services)
    assert (len(items), more) == (1, True)


@pytest.mark.usefixtures("pushed")
async def test_deleted_referrer_is_not_listed(services):
    await services.manifests.delete(NAME, Digest.of(SBOM))
    assert await digests(services) == ([Digest.of(SIGNATURE)], False)
    assert layout.referrer_link(NAME, SUBJECT_DIGEST, Digest.of(SBOM)) not in await services.keys()


@pytest.mark.usefixtures("pushed")
async def test_referrer_deleted_by_another_registry_is_not_listed(services):
    await services.links.delete(layout.revision_link(NAME, Digest.of(SBOM)))
    assert await digests(services) == ([Digest.of(SIGNATURE)], False)


async def test_fallback_tag_of_another_registry_is_listed(services):
    """Written by distribution: manifests with a subject, an index under the fallback tag, none of our links."""
    await services.push_blob(NAME, b"{}")
    unrelated = image_manifest(b"{}", [], annotations={"other": "image"})
    for manifest in (SBOM, unrelated):
        await services.manifests.put(NAME, manifest, media_types.OCI_MANIFEST)
    await services.storage.delete_tree(f"{layout.repository(NAME)}/_referrers")
    index = image_index([SBOM, unrelated])
    tag = Tag(f"sha256-{SUBJECT_DIGEST.encoded}")
    await services.manifests.put(NAME, index, media_types.OCI_INDEX, tags=[tag])
    assert await digests(services) == ([Digest.of(SBOM)], False)


async def test_fallback_tag_of_a_long_digest_is_shortened(services):
    subject = Digest.of(SUBJECT, "sha512")
    await services.push_blob(NAME, b"{}")
    manifest = image_manifest(
        b"{}", subject=descriptor(SUBJECT, media_types.OCI_MANIFEST, algorithm="sha512"), artifactType="x/y"
    )
    await services.manifests.put(NAME, manifest, media_types.OCI_MANIFEST)
    await services.storage.delete_tree(f"{layout.repository(NAME)}/_referrers")
    tag = Tag(f"sha512-{subject.encoded[:64]}")
    await services.manifests.put(NAME, image_index([manifest]), media_types.OCI_INDEX, tags=[tag])
    assert [entry.digest for entry in (await services.referrers.page(NAME, subject)).items] == [Digest.of(manifest)]


@pytest.mark.usefixtures("pushed")
async def test_stray_and_damaged_entries_are_skipped(services):
    await services.storage.write(f"{layout.referrers(NAME, SUBJECT_DIGEST)}/sha256/nonsense/link", b"")
    await services.storage.write(layout.blob_data(Digest.of(SBOM)), json.dumps([]).encode())
    assert await digests(services) == ([Digest.of(SIGNATURE)], False)
    await services.storage.delete([layout.blob_data(Digest.of(SIGNATURE))])
    assert await digests(services) == ([], False)
