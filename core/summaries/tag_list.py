"""The list of a repository's tags with their details, in any order."""

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import MAXYEAR, MINYEAR, datetime
from enum import Enum, auto
from typing import Any, Final, Protocol, Self

from core.concurrency import map_bounded, slices
from core.errors import InvalidInputError
from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.globs import EVERYTHING, Globs, glob_problem
from core.model.media_types import IMAGE_CONFIGS
from core.model.names import ATTACHED_TAG, RepositoryName, Tag
from core.model.pagination import Page
from core.model.times import time_text
from core.summaries.manifest_summary import ManifestSummary, PlatformSummary
from core.summaries.paging import Cut, KeyKind, SortedNames, Sorting, microseconds, version_of
from core.summaries.service import RepositoryView, SummaryService, TagState

REFERRERS_MAX: Final = 20
"""Maximum number of referrers per tag in a list."""
REFERRER_PAGE_MAX: Final = 50
"""Maximum number of tags in a page with referrers, each of which costs storage requests."""
_REFERRER_BYTES_MAX: Final = 4 * 1024 * 1024
"""Maximum size of all referrers in a page, whose annotations can have any length."""
_REFERRERS_AT_ONCE: Final = 4
PLATFORMS_MAX: Final = 64
"""Maximum number of platforms per tag in a list; an index can have thousands."""
_TEXT_LENGTH_MAX: Final = 256
"""Maximum length of a text from a manifest in a list."""
_KEYS: Final[Mapping[str, KeyKind]] = {
    "name": KeyKind.NAME,
    "pushed": KeyKind.TIME,
    "pulled": KeyKind.TIME,
    "size": KeyKind.NUMBER,
    "semver": KeyKind.VERSION,
}
TAG_SORTS: Final = tuple(_KEYS)
"""The keys of `sort`."""
_BY_NAME: Final = Sorting("name")
_ALL: Final = Globs((EVERYTHING,))
_FILTER_LENGTH_MAX: Final = 128
_PLATFORM_LENGTH_MAX: Final = 128
_PLATFORM_PARTS: Final = (2, 3)
_SAME_VARIANTS: Final[Mapping[tuple[str, str], str]] = {("arm64", "v8"): "", ("arm", ""): "v7"}
"""Variants that name the same platform, as in containerd."""
REMEMBERED_TAGS: Final = 100_000
"""Default number of tags of all sorted lists in memory, each with about 150 bytes."""
_REMEMBERED_LISTS: Final = 64


class ReferrersOf(Protocol):
    """Lists the referrers of a manifest, as `ReferrerService.page`."""

    async def __call__(self, name: RepositoryName, subject: Digest, /, *, n: int) -> Page[Descriptor]:
        """Return the first `n` referrers."""


@dataclass(frozen=True, slots=True)
class Platform:
    """A platform that a client asks for."""

    os: str
    architecture: str
    variant: str | None = None
    """None if any variant will do."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `os/architecture[/variant]`.

        Raises:
            InvalidInputError: the text has another form.
        """
        parts = text.split("/")
        if len(parts) not in _PLATFORM_PARTS or not all(parts) or len(text) > _PLATFORM_LENGTH_MAX:
            raise InvalidInputError("platform must be `os/architecture` or `os/architecture/variant`")
        return cls(*parts)

    def matches(self, platform: PlatformSummary) -> bool:
        """Whether an image is for this platform."""
        if (self.os, self.architecture) != (platform.os, platform.architecture):
            return False
        return self.variant is None or _variant(self.architecture, self.variant) == _variant(
            platform.architecture, platform.variant
        )


class TagSelection(Enum):
    """Which tags a list shows."""

    ALL = auto()
    IMAGES = auto()
    """Without the tags that clients derive from a digest (`ATTACHED_TAG`)."""
    ATTACHED = auto()
    """Those tags only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TagQuery:
    """The tags that a client asks for, and their order."""

    sorting: Sorting = _BY_NAME
    globs: Globs = _ALL
    platform: Platform | None = None
    has_referrers: bool = False
    """Whether to list the referrers of each tag."""
    selection: TagSelection = TagSelection.ALL
    cut: Cut = field(default_factory=Cut)

    @classmethod
    def parse(
        cls,
        *,
        sort: str = "",
        glob: str = "",
        platform: str = "",
        has_referrers: bool = False,
        selection: TagSelection = TagSelection.ALL,
        cut: Cut | None = None,
    ) -> Self:
        """Parse the parameters of a list; each may be empty.

        Raises:
            InvalidInputError: a parameter is malformed.
        """
        if glob and (len(glob) > _FILTER_LENGTH_MAX or glob_problem(glob)):
            raise InvalidInputError("filter must be a glob such as `v1.*`")
        return cls(
            sorting=Sorting.parse(sort, TAG_SORTS),
            globs=Globs((glob,)) if glob else _ALL,
            platform=Platform.parse(platform) if platform else None,
            has_referrers=has_referrers,
            selection=selection,
            cut=cut or Cut(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TagDetails:
    """A tag with all that a list shows."""

    tag: Tag
    state: TagState
    is_immutable: bool
    pulled_at: datetime | None = None
    """The time of the last known pull of the manifest, by any tag or by digest."""
    summary: ManifestSummary | None = None
    """None if it is not known yet."""
    referrers: Page[Descriptor] | None = None
    """None if the client did not ask for them."""

    def as_json(self) -> dict[str, Any]:
        """Return the members of the list's answer; those that are unknown or empty are left out."""
        summary = self.summary
        members: dict[str, Any] = {
            "name": self.tag,
            "digest": self.state.digest,
            **(summary_json(summary) if summary else {}),
            "pushed": time_text(self.state.pushed_at),
            "pushedBy": self.state.pushed_by or None,
            "pulled": self.pulled_at and time_text(self.pulled_at),
            "immutable": self.is_immutable,
        }
        if self.referrers is not None:
            members["referrers"] = [descriptor.as_json() for descriptor in self.referrers.items]
            members["moreReferrers"] = self.referrers.has_more or None
        return {key: value for key, value in members.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class TagPage:
    """A page of tags."""

    items: Sequence[TagDetails]
    previous: str | None
    """The `before` of the previous page; None if there is none."""
    following: str | None
    """The `last` of the next page; None if there is none."""
    is_complete: bool
    """Whether all details are known that the page shows, or that decide what it shows."""
    count: int = 0
    """Number of all tags of the repository."""
    attached: frozenset[Tag] = frozenset()
    """The tags of the repository that clients derived from a digest; empty if the list is not divided by them."""


@dataclass(frozen=True, slots=True)
class _Known:
    """The details of a repository that an order or a filter requires."""

    summaries: Mapping[Digest, ManifestSummary]
    pulls: Mapping[Digest, datetime]
    is_complete: bool = True


class TagLists:
    """Lists tags with their details; one per process.

    A page costs a view of the repository, and the summaries of its own tags. An order by size and a filter by platform
    need the summaries of all tags: those that are not known within the bounds of a request come last, or are left out.

    Args:
        summaries: answers questions about tags and manifests.
        is_immutable: whether a tag is immutable.
        referrers: returns the referrers of a manifest.
        page_size_max: the largest page.
        remembered_max: maximum number of tags of all sorted lists in memory.
    """

    def __init__(
        self,
        summaries: SummaryService,
        *,
        is_immutable: Callable[[RepositoryName, Tag], bool],
        referrers: ReferrersOf,
        page_size_max: int,
        remembered_max: int = REMEMBERED_TAGS,
    ) -> None:
        self._summaries = summaries
        self._is_immutable = is_immutable
        self._referrers = referrers
        self._page_size_max = page_size_max
        self._remembered_max = remembered_max
        self._sorted: OrderedDict[tuple[RepositoryName, str, Sorting], SortedNames[Tag]] = OrderedDict()

    async def page(self, name: RepositoryName, query: TagQuery) -> TagPage:
        """Return a page of tags.

        Raises:
            NameUnknownError: the repository does not exist.
            PaginationInvalidError: a marker is not one of this order.
        """
        view = await self._summaries.view(name)
        known = await self._know(view, query)
        size_max = min(self._page_size_max, REFERRER_PAGE_MAX) if query.has_referrers else self._page_size_max
        attached = frozenset[Tag]() if query.selection is TagSelection.ALL else _attached(view)
        shows = _filter(view, query, known, attached)
        part = self._in_order(view, query.sorting, known).page(query.cut, size_max=size_max, shows=shows)
        tags = part.names
        digests = list(dict.fromkeys(view.tags[tag].digest for tag in tags))
        summaries = known.summaries or await self._summaries.describe(name, digests)
        referrers = await self._referrers_of(name, digests) if query.has_referrers else {}
        items = [
            TagDetails(
                tag=tag,
                state=view.tags[tag],
                is_immutable=self._is_immutable(name, tag),
                pulled_at=known.pulls.get(view.tags[tag].digest),
                summary=summaries.get(view.tags[tag].digest),
                referrers=referrers.get(view.tags[tag].digest),
            )
            for tag in tags
        ]
        is_complete = (
            known.is_complete
            and all(item.summary is not None for item in items)
            and (not query.has_referrers or all(item.referrers is not None for item in items))
        )
        return TagPage(
            items=items,
            previous=part.previous,
            following=part.following,
            is_complete=is_complete,
            count=len(view.tags),
            attached=attached,
        )

    def is_immutable(self, name: RepositoryName, tag: Tag) -> bool:
        """Whether a tag can neither be moved nor deleted."""
        return self._is_immutable(name, tag)

    async def _know(self, view: RepositoryView, query: TagQuery) -> _Known:
        pulls = await self._summaries.last_pulls(view.name)
        if query.platform is None and query.sorting.key != "size":
            return _Known({}, pulls)
        digests = list(dict.fromkeys(state.digest for tag, state in view.tags.items() if query.globs.match(tag)))
        summaries = await self._summaries.describe(view.name, digests)
        return _Known(summaries, pulls, is_complete=len(summaries) == len(digests))

    def _in_order(self, view: RepositoryView, sorting: Sorting, known: _Known) -> SortedNames[Tag]:
        """Return all tags in an order, remembered if it depends on nothing but the tags."""
        if sorting.key in {"size", "pulled"}:
            return _sort(view, sorting, known)
        key = (view.name, view.version, sorting)
        found = self._sorted.get(key) or _sort(view, sorting, known)
        self._sorted[key] = found
        self._sorted.move_to_end(key)
        while len(self._sorted) > _REMEMBERED_LISTS or sum(map(len, self._sorted.values())) > self._remembered_max:
            self._sorted.popitem(last=False)
        return found

    async def _referrers_of(self, name: RepositoryName, digests: Sequence[Digest]) -> Mapping[Digest, Page[Descriptor]]:
        """Return the referrers of manifests, except for those beyond the size of a page."""

        async def read(digest: Digest) -> Page[Descriptor]:
            return await self._referrers(name, digest, n=REFERRERS_MAX)

        found: dict[Digest, Page[Descriptor]] = {}
        size = 0
        for some in slices(digests, _REFERRERS_AT_ONCE):
            for digest, page in zip(some, await map_bounded(read, some), strict=True):
                size += sum(len(json.dumps(descriptor.as_json())) for descriptor in page.items)
                if size <= _REFERRER_BYTES_MAX:
                    found[digest] = page
        return found


def _sort(view: RepositoryView, sorting: Sorting, known: _Known) -> SortedNames[Tag]:
    def value(tag: Tag, state: TagState) -> Any:
        match sorting.key:
            case "pushed":
                return microseconds(state.pushed_at)
            case "pulled":
                return microseconds(known.pulls.get(state.digest))
            case "size":
                summary = known.summaries.get(state.digest)
                return None if summary is None else summary.size
            case "semver":
                return version_of(tag)
            case _:
                return tag

    values = [(tag, value(tag, state)) for tag, state in view.tags.items()]
    return SortedNames(values, _KEYS[sorting.key], is_descending=sorting.is_descending)


def _attached(view: RepositoryView) -> frozenset[Tag]:
    # The comparison of the first letters saves the search in most names.
    return frozenset(tag for tag in view.tags if tag.startswith("sha") and ATTACHED_TAG.fullmatch(tag))


def _filter(
    view: RepositoryView, query: TagQuery, known: _Known, attached: frozenset[Tag]
) -> Callable[[Tag], bool] | None:
    """Return whether the list contains a tag; None if it contains all."""
    platform = query.platform
    wants_attached = query.selection is TagSelection.ATTACHED
    is_divided = wants_attached or bool(attached)
    has_globs = query.globs is not _ALL
    if not (is_divided or has_globs or platform):
        return None

    def shows(tag: Tag) -> bool:
        if is_divided and (tag in attached) != wants_attached:
            return False
        if has_globs and not query.globs.match(tag):
            return False
        if platform is None:
            return True
        summary = known.summaries.get(view.tags[tag].digest)
        return summary is not None and any(map(platform.matches, summary.platforms))

    return shows


def _variant(architecture: str, variant: str) -> str:
    return _SAME_VARIANTS.get((architecture, variant), variant)


def summary_json(summary: ManifestSummary) -> dict[str, Any]:
    """Return the members of a manifest in lists, without those that are unknown or empty."""
    members: dict[str, Any] = {
        "mediaType": _shorten(summary.media_type),
        "artifactType": _artifact_type(summary),
        "size": summary.size,
        "created": _created(summary),
        "platforms": [_platform_json(each) for each in summary.platforms[:PLATFORMS_MAX]],
    }
    return {key: value for key, value in members.items() if value is not None}


def _platform_json(platform: PlatformSummary) -> dict[str, object]:
    texts = {"os": platform.os, "architecture": platform.architecture, "variant": platform.variant}
    described = {key: _shorten(text) for key, text in texts.items() if text}
    return {**described, "digest": platform.digest, "size": platform.size}


def _artifact_type(summary: ManifestSummary) -> str | None:
    # A manifest without the member has the type of its config, which is of no interest for an image.
    is_image = summary.artifact_type in IMAGE_CONFIGS
    return None if is_image else _shorten(summary.artifact_type) or None


def _created(summary: ManifestSummary) -> str | None:
    # Go's zero time means that a build tool set none. Other extreme years may have no equivalent in UTC.
    created = summary.created
    return time_text(created) if created and MINYEAR < created.year < MAXYEAR else None


def _shorten(text: str) -> str:
    return text[:_TEXT_LENGTH_MAX]
