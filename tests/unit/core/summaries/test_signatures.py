"""Signed images in lists."""

import pytest

from core.model.digest import Digest
from core.model.media_types import OCI_MANIFEST
from core.model.names import Tag
from core.store import layout
from core.summaries import signatures
from core.summaries.signatures import Signatures
from tests.support.content import descriptor, image_manifest
from tests.support.summaries import NAME

IMAGES = [image_manifest(b"{}", [str(number).encode()]) for number in range(4)]
DIGESTS = [Digest.of(image) for image in IMAGES]


@pytest.fixture
def recognizer(store):
    return Signatures(store.storage, store.service())


async def put_referrer(store, image, artifact_type):
    content = image_manifest(
        artifact_type.encode(), subject=descriptor(image, OCI_MANIFEST), artifactType=artifact_type
    )
    digest = await store.put(content)
    await store.storage.inner.write(layout.referrer_link(NAME, Digest.of(image), digest), digest.encode())


async def test_referrers_of_the_types_of_signatures(store, recognizer):
    for image, artifact_type in zip(
        IMAGES,
        [
            "application/vnd.dev.cosign.artifact.sig.v1+json",
            "application/vnd.cncf.notary.signature",
            "application/vnd.dev.sigstore.bundle.v0.3+json",
            "application/spdx+json",
        ],
        strict=True,
    ):
        await store.put(image)
        await put_referrer(store, image, artifact_type)
    await store.storage.inner.write(f"{layout.all_referrers(NAME)}/of/another/program", b"")
    assert await recognizer.signed(NAME, DIGESTS) == set(DIGESTS[:3])
    assert await recognizer.signed(NAME, DIGESTS[1:]) == set(DIGESTS[1:3])


async def test_requests_do_not_depend_on_the_number_of_images(store, recognizer, counted):
    await put_referrer(store, IMAGES[0], "application/vnd.cncf.notary.signature")
    await recognizer.signed(NAME, DIGESTS)
    counted.count()
    await recognizer.signed(NAME, DIGESTS)
    assert counted.count() == 1


async def test_tags_of_cosign(recognizer):
    tag = Tag(f"sha256-{DIGESTS[1].encoded}.sig")
    other = Tag(f"sha256-{DIGESTS[2].encoded}.att")
    assert await recognizer.signed(NAME, DIGESTS, {tag, other}) == {DIGESTS[1]}


async def test_long_lists_of_referrers_are_read_in_part(store, recognizer, monkeypatch):
    monkeypatch.setattr(signatures, "LISTED_MAX", 1)
    for image in IMAGES[:2]:
        await put_referrer(store, image, "application/vnd.cncf.notary.signature")
    assert len(await recognizer.signed(NAME, DIGESTS)) == 1
