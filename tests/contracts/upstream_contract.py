"""Contract of every upstream: what it yields for content that exists or does not, and how it fails."""

import pytest

from core.errors import (
    RangeInvalidError,
    UpstreamAbsentError,
    UpstreamBusyError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from core.model import media_types
from core.model.digest import Digest
from core.model.names import Tag
from tests.support.content import descriptor, image_index, image_manifest
from tests.support.streams import collect, payload

NAME = "library/alpine"
LAYER = payload(300_000)
MANIFEST = image_manifest(b"{}", [LAYER])
SUBJECT = descriptor(MANIFEST, media_types.OCI_MANIFEST)
SIGNATURE = image_manifest(
    b"{}",
    [b"signature"],
    artifactType="application/x.signature",
    subject=SUBJECT,
)
SBOM = image_manifest(
    b"{}",
    [b"sbom"],
    artifactType="application/x.sbom",
    annotations={"created": "today"},
    subject=SUBJECT,
)


async def read_blob(upstream, digest, **part):
    async with upstream.open_blob(NAME, digest, **part) as reader:
        content = b"".join([piece async for piece in reader])
        assert reader.length == len(content)
        assert reader.offset == part.get("offset", 0)
        return reader.size, content


class UpstreamContract:
    """Subclasses provide the upstream, its content, and ways to let it fail."""

    @pytest.fixture
    def content(self):
        """Has the methods `add_manifest`, `add_blob`, `remove_tag`."""
        raise NotImplementedError

    @pytest.fixture
    async def upstream(self, content):
        raise NotImplementedError

    def let_fail(self, error):
        """Let the upstream answer with an `UpstreamBusyError` of 60 s, or with another error."""
        raise NotImplementedError

    def cut_next_blob(self, after):
        raise NotImplementedError

    @pytest.mark.parametrize(
        ("document", "media_type"),
        [
            (MANIFEST, media_types.OCI_MANIFEST),
            (image_index([MANIFEST]), media_types.OCI_INDEX),
            (image_manifest(media_type=media_types.DOCKER_MANIFEST), media_types.DOCKER_MANIFEST),
            (image_index([MANIFEST], media_type=media_types.DOCKER_MANIFEST_LIST), media_types.DOCKER_MANIFEST_LIST),
            (b'{"schemaVersion": 1, "signatures": []}', media_types.DOCKER_SCHEMA1_SIGNED),
        ],
    )
    async def test_tag_leads_to_the_exact_manifest(self, content, upstream, document, media_type):
        digest = content.add_manifest(NAME, document, media_type, "latest", "v1")
        target = await upstream.resolve(NAME, Tag("latest"))
        assert (target.digest, target.media_type) == (digest, media_type)
        for reference in (Tag("v1"), Digest(digest)):
            manifest = await upstream.manifest(NAME, reference)
            assert (manifest.content, manifest.media_type, manifest.digest) == (document, media_type, digest)

    async def test_tag_follows_its_target(self, content, upstream):
        first = content.add_manifest(NAME, MANIFEST, media_types.OCI_MANIFEST, "latest")
        before = await upstream.resolve(NAME, Tag("latest"))
        second = content.add_manifest(NAME, SBOM, media_types.OCI_MANIFEST, "latest")
        after = await upstream.resolve(NAME, Tag("latest"), etag=before.etag)
        assert (before.digest, after.digest) == (first, second)

    async def test_validator_saves_an_unchanged_answer(self, content, upstream):
        content.add_manifest(NAME, MANIFEST, media_types.OCI_MANIFEST, "latest")
        before = await upstream.resolve(NAME, Tag("latest"))
        after = await upstream.resolve(NAME, Tag("latest"), etag=before.etag)
        # Without a validator the answer is the same again.
        assert after in (None, before)
        assert after is None or before.etag is None

    async def test_missing_content_is_absent(self, content, upstream):
        content.add_manifest(NAME, MANIFEST, media_types.OCI_MANIFEST, "latest")
        content.add_manifest(NAME, SBOM, media_types.OCI_MANIFEST, "gone")
        content.remove_tag(NAME, "gone")
        missing = Digest.of(b"missing")
        for question in (
            upstream.resolve(NAME, Tag("gone")),
            upstream.resolve("library/unknown", Tag("latest")),
            upstream.manifest(NAME, Tag("gone")),
            upstream.manifest(NAME, missing),
            read_blob(upstream, missing),
            collect(upstream.tags("library/unknown")),
        ):
            with pytest.raises(UpstreamAbsentError):
                await question

    @pytest.mark.parametrize(
        ("offset", "length"),
        [
            (0, None),
            (0, 1),
            (0, 300_000),
            (0, 400_000),
            (1, None),
            (299_999, None),
            (300_000, None),
            (150_000, 10),
            (7, 0),
        ],
    )
    async def test_blob_is_read_from_any_offset(self, content, upstream, offset, length):
        digest = Digest(content.add_blob(NAME, LAYER))
        size, got = await read_blob(upstream, digest, offset=offset, length=length)
        assert size == len(LAYER)
        assert got == LAYER[offset : len(LAYER) if length is None else offset + length]

    async def test_empty_blob_is_read(self, content, upstream):
        assert await read_blob(upstream, Digest(content.add_blob(NAME, b""))) == (0, b"")

    async def test_offset_beyond_the_end_is_refused(self, content, upstream):
        digest = Digest(content.add_blob(NAME, LAYER))
        with pytest.raises(RangeInvalidError) as caught:
            await read_blob(upstream, digest, offset=300_001)
        assert caught.value.size == 300_000

    async def test_broken_blob_is_never_silently_short(self, content, upstream):
        digest = Digest(content.add_blob(NAME, LAYER))
        self.cut_next_blob(100_000)
        got: list[bytes] = []

        async def read():
            async with upstream.open_blob(NAME, digest) as reader:
                async for piece in reader:
                    got.append(piece)  # noqa: PERF401 - the pieces before the failure count

        with pytest.raises(UpstreamUnavailableError):
            await read()
        done = b"".join(got)
        assert len(done) <= 100_000
        _, rest = await read_blob(upstream, digest, offset=len(done))
        assert done + rest == LAYER

    async def test_block_may_end_before_the_blob(self, content, upstream):
        digest = Digest(content.add_blob(NAME, LAYER))
        for _ in range(3):
            async with upstream.open_blob(NAME, digest) as reader:
                async for _piece in reader:
                    break
        assert await read_blob(upstream, digest) == (len(LAYER), LAYER)

    async def test_tags_are_listed_from_a_place(self, content, upstream):
        names = [f"v{number:02}" for number in range(25)]
        content.add_manifest(NAME, MANIFEST, media_types.OCI_MANIFEST, *names)
        assert await collect(upstream.tags(NAME)) == names
        assert await collect(upstream.tags(NAME, after="v21x")) == names[22:]
        assert await collect(upstream.tags(NAME, after="z")) == []

    async def test_repositories_are_listed_from_a_place(self, content, upstream):
        for name in ("a/b", "c", "d/e/f"):
            content.add_manifest(name, MANIFEST, media_types.OCI_MANIFEST, "latest")
        assert await collect(upstream.repositories()) == ["a/b", "c", "d/e/f"]
        assert await collect(upstream.repositories(after="c")) == ["d/e/f"]

    async def test_referrers_are_listed_by_type(self, content, upstream):
        subject = Digest(content.add_manifest(NAME, MANIFEST, media_types.OCI_MANIFEST, "latest"))
        for document in (SIGNATURE, SBOM):
            content.add_manifest(NAME, document, media_types.OCI_MANIFEST)
        found = {each.digest: each for each in await collect(upstream.referrers(NAME, subject))}
        assert set(found) == {Digest.of(SIGNATURE), Digest.of(SBOM)}
        sbom = found[Digest.of(SBOM)]
        assert (sbom.artifact_type, sbom.size, sbom.media_type) == (
            "application/x.sbom",
            len(SBOM),
            media_types.OCI_MANIFEST,
        )
        assert sbom.annotations == {"created": "today"}
        [only] = await collect(upstream.referrers(NAME, subject, artifact_type="application/x.signature"))
        assert only.digest == Digest.of(SIGNATURE)
        assert await collect(upstream.referrers(NAME, Digest.of(b"unknown"))) == []

    async def test_check_succeeds(self, upstream):
        await upstream.check()

    @pytest.mark.parametrize("error", [UpstreamUnavailableError, UpstreamBusyError])
    async def test_failure_is_raised_by_every_question(self, content, upstream, error):
        digest = Digest(content.add_manifest(NAME, MANIFEST, media_types.OCI_MANIFEST, "latest"))
        self.let_fail(error)
        for question in (
            upstream.resolve(NAME, Tag("latest")),
            upstream.manifest(NAME, digest),
            read_blob(upstream, digest),
            collect(upstream.tags(NAME)),
            collect(upstream.repositories()),
            collect(upstream.referrers(NAME, digest)),
            upstream.check(),
        ):
            with pytest.raises(error) as caught:
                await question
            assert not isinstance(caught.value, UpstreamTimeoutError)
            assert upstream.name in str(caught.value)
            if isinstance(caught.value, UpstreamBusyError):
                assert 55 <= caught.value.retry_after <= 60
