"""The tree of referrers of a manifest."""

from datetime import UTC, datetime

from core.errors import UpstreamUnavailableError
from core.inspection.referrers import ASKED_MAX, NESTED_MAX, REFERRERS_MAX, ReferrerTrees, cosign_tag
from core.model.artifact_types import ArtifactKind
from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.model.pagination import Page
from core.summaries.service import RepositoryView, TagState

NAME = RepositoryName("team/app")
IMAGE, SBOM, SIGNATURE, OTHER = (Digest.of(content) for content in (b"image", b"sbom", b"signature", b"other"))
COSIGN = "application/vnd.dev.cosign.artifact.sig.v1+json"


def view(**tags):
    time = datetime(2026, 1, 1, tzinfo=UTC)
    states = {Tag(tag): TagState(digest=digest, pushed_at=time) for tag, digest in tags.items()}
    return RepositoryView(name=NAME, tags=states, version="1")


def referrer(digest, artifact_type="x/y", **annotations):
    return Descriptor(media_type="m", digest=digest, size=7, artifact_type=artifact_type, annotations=annotations)


class Referrers:
    """Referrers by their subjects; counts the questions."""

    def __init__(self, found):
        self.found = found
        self.asked = []

    async def __call__(self, _name, subject, /, *, n):
        self.asked.append(subject)
        items = self.found.get(subject, [])
        return Page(items=items[:n], has_more=len(items) > n)


def trees(referrers, held=()):
    async def holds(_name, digest):
        return digest in held

    return ReferrerTrees(referrers, holds)


async def test_referrers_have_names_and_their_own_referrers():
    found = {
        IMAGE: [
            referrer(SBOM, "application/spdx+json", **{"org.opencontainers.image.created": "2026-01-02T03:04:05Z"})
        ],
        SBOM: [referrer(SIGNATURE, COSIGN)],
    }
    tree = await trees(Referrers(found)).tree(view(), IMAGE)
    [sbom] = tree.items
    assert sbom.created == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert (sbom.kind, sbom.size, tree.has_signature) == (ArtifactKind.SPDX, 7, False)
    assert [each.kind for each in sbom.referrers] == [ArtifactKind.COSIGN_SIGNATURE]


async def test_artifacts_under_the_tags_of_cosign_count():
    states = {cosign_tag(IMAGE, "sig"): SIGNATURE, cosign_tag(IMAGE, "sbom"): SBOM, cosign_tag(SBOM, "sig"): OTHER}
    tree = await trees(Referrers({IMAGE: [referrer(SBOM)]})).tree(view(**states), IMAGE)
    assert [(each.digest, each.tag) for each in tree.items] == [(SBOM, ""), (SIGNATURE, cosign_tag(IMAGE, "sig"))]
    assert tree.has_signature
    assert [each.digest for each in tree.items[0].referrers] == [OTHER]


async def test_questions_are_bounded():
    many = [referrer(Digest.of(b"%d" % number)) for number in range(REFERRERS_MAX + 1)]
    nested = [referrer(Digest.of(b"n%d" % number)) for number in range(NESTED_MAX + 1)]
    referrers = Referrers({IMAGE: many, many[0].digest: nested})
    tree = await trees(referrers).tree(view(), IMAGE)
    assert (len(tree.items), tree.has_more, len(referrers.asked)) == (REFERRERS_MAX, True, 1 + ASKED_MAX)
    assert (len(tree.items[0].referrers.items), tree.items[0].has_more) == (NESTED_MAX, True)


async def test_a_cached_repository_is_asked_once_and_says_which_it_holds():
    referrers = Referrers({IMAGE: [referrer(SBOM), referrer(SIGNATURE)]})
    tree = await trees(referrers, held={SBOM}).tree(view(), IMAGE, is_cached=True)
    assert [(each.digest, each.is_held) for each in tree.items] == [(SBOM, True), (SIGNATURE, False)]
    assert referrers.asked == [IMAGE]


async def test_an_upstream_that_fails_leaves_the_tags_of_cosign():
    async def fail(_name, _subject, /, *, n):
        raise UpstreamUnavailableError(f"no answer for {n}")

    tree = await trees(fail).tree(view(**{cosign_tag(IMAGE, "att"): OTHER}), IMAGE)
    assert ([each.kind for each in tree.items], tree.is_complete) == ([ArtifactKind.ATTESTATION], False)
