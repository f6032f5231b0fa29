"""The signatures, SBOMs, attestations and other artifacts that refer to a manifest, as a tree of two levels."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, cast

from core.concurrency import map_bounded
from core.errors import UpstreamError
from core.inspection.documents import Some, as_pairs, as_text, as_time
from core.model.artifact_types import COSIGN_TAGS, SIGNATURES, ArtifactKind, kind_of
from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.summaries.service import RepositoryView, TagState
from core.summaries.tag_list import ReferrersOf

REFERRERS_MAX: Final = 30
"""Maximum number of referrers of a manifest that a page shows."""
ASKED_MAX: Final = 10
"""Maximum number of them whose own referrers a page shows."""
NESTED_MAX: Final = 5
"""Maximum number of the referrers of each."""
_CREATED: Final = "org.opencontainers.image.created"


@dataclass(frozen=True, slots=True, kw_only=True)
class Referrer:
    """An artifact that refers to a manifest."""

    digest: Digest
    kind: ArtifactKind | None
    artifact_type: str = ""
    size: int | None = None
    """Size in bytes of its manifest; None if it is not known."""
    created: datetime | None = None
    """The creation time by its annotation."""
    tag: str = ""
    """Cosign's tag, if the artifact has no subject."""
    is_held: bool = True
    """Whether the repository holds it; false for what a cache has not fetched."""
    annotations: Some[tuple[str, str]] = field(default_factory=Some)
    referrers: Some["Referrer"] = field(default_factory=Some)
    has_more: bool = False
    """Whether there are more referrers than are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferrerTree:
    """The referrers of a manifest."""

    items: tuple[Referrer, ...] = ()
    has_more: bool = False
    is_complete: bool = True
    """False if the upstream of a cached repository could not be asked."""

    @property
    def has_signature(self) -> bool:
        """Whether there is a signature, which the registry does not verify."""
        return any(each.kind in SIGNATURES for each in self.items)


class ReferrerTrees:
    """Reads trees of referrers; one per process.

    Args:
        referrers: returns the referrers of a manifest.
        holds: whether a repository holds a manifest.
    """

    def __init__(self, referrers: ReferrersOf, holds: Callable[[RepositoryName, Digest], Awaitable[bool]]) -> None:
        self._referrers = referrers
        self._holds = holds

    async def tree(self, view: RepositoryView, digest: Digest, *, is_cached: bool = False) -> ReferrerTree:
        """Return the referrers of a manifest, and their own referrers.

        Costs two requests for the manifest and for each of the first ten referrers, and two for each artifact found. In
        a cached repository, it is one question to the upstream, and a request for each artifact, without their own
        referrers.

        Args:
            view: the tags of the repository, among which are those of cosign.
            digest: the manifest.
            is_cached: whether the repository is cached.
        """
        try:
            page = await self._referrers(view.name, digest, n=REFERRERS_MAX)
        except UpstreamError:
            return ReferrerTree(items=_tagged(view.tags, digest, ()), is_complete=False)
        found = [_referrer(each) for each in page.items]
        found += _tagged(view.tags, digest, {each.digest for each in found})
        if is_cached:
            return ReferrerTree(items=tuple(await self._marked(view.name, found)), has_more=page.has_more)
        asked = found[:ASKED_MAX]

        async def with_referrers(referrer: Referrer) -> Referrer:
            return await self._with_referrers(view, referrer)

        nested = await map_bounded(with_referrers, asked, at_once=4)
        return ReferrerTree(items=(*nested, *found[len(asked) :]), has_more=page.has_more)

    async def _marked(self, name: RepositoryName, referrers: Sequence[Referrer]) -> Sequence[Referrer]:
        async def mark(referrer: Referrer) -> Referrer:
            return replace(referrer, is_held=await self._holds(name, referrer.digest))

        return await map_bounded(mark, referrers)

    async def _with_referrers(self, view: RepositoryView, referrer: Referrer) -> Referrer:
        page = await self._referrers(view.name, referrer.digest, n=NESTED_MAX)
        found = [_referrer(each) for each in page.items]
        found += _tagged(view.tags, referrer.digest, {each.digest for each in found})
        return replace(referrer, referrers=Some(found), has_more=page.has_more)


def cosign_tag(digest: Digest, ending: str) -> str:
    """Return the tag under which cosign keeps an artifact about a manifest."""
    return f"{digest.algorithm}-{digest.encoded}.{ending}"


def _tagged(tags: Mapping[Tag, TagState], digest: Digest, known: Collection[Digest]) -> tuple[Referrer, ...]:
    """Return the artifacts that have cosign's tags and no subject, which costs no request."""
    by_text: Mapping[str, TagState] = cast("Mapping[str, TagState]", tags)
    found = []
    for ending, kind in COSIGN_TAGS.items():
        tag = cosign_tag(digest, ending)
        state = by_text.get(tag)
        if state is not None and state.digest not in known:
            found.append(Referrer(digest=state.digest, kind=kind, tag=tag))
    return tuple(found)


def _referrer(descriptor: Descriptor) -> Referrer:
    return Referrer(
        digest=descriptor.digest,
        kind=kind_of(descriptor.artifact_type or "", descriptor.annotations),
        artifact_type=as_text(descriptor.artifact_type, 255),
        size=descriptor.size,
        created=as_time(descriptor.annotations.get(_CREATED)),
        annotations=as_pairs(dict(descriptor.annotations)),
    )
