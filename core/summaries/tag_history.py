"""The history of one tag for clients: recorded changes, and what only the links of the tag show.

Distribution records no changes, and old stores have none. But each tag has a link for every manifest that it pointed
at, written when the tag was pointed at it. An entry made from such a link has no user.
"""

import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from core.concurrency import closing, map_bounded
from core.errors import InvalidInputError, PaginationInvalidError
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.model.pagination import Page
from core.ports.blob_storage import BlobStorage
from core.store import layout
from core.store.link_keys import digests_in
from core.store.links import Links
from core.store.tag_links import TagLinks
from core.summaries.changes import ChangeKind, ChangeLog
from core.summaries.history import Described, History, HistoryEntry, complete, merge, read_history
from core.summaries.service import BUILT_MAX, SummaryService

PAGE_DEFAULT: Final = 100
PAGE_MAX: Final = BUILT_MAX
"""So that every manifest of a page can be described."""
LINKS_MAX: Final = 10_000
"""Maximum number of links that one request reads from the store."""
SKEW: Final = timedelta(minutes=5)
"""A link and a record of the same manifest belong to one push if their times differ by no more than this: the clock of
the store and that of a server may differ."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_MARKER: Final = re.compile(r"(-?\d{1,18})\|(.{0,255})", re.DOTALL | re.ASCII)
_RFC_3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryQuery:
    """The part of a history that a client asks for."""

    n: int | None = None
    """Maximum number of entries; None means the default."""
    last: str = ""
    """The entries older than this marker of an entry; empty for the newest ones."""
    before: datetime | None = None
    """Only entries older than this."""
    since: datetime | None = None
    """Only entries newer than this."""
    digest: Digest | None = None
    """Only entries of this manifest."""

    @property
    def size(self) -> int:
        """The largest number of entries of the page."""
        return PAGE_DEFAULT if self.n is None else min(self.n, PAGE_MAX)


@dataclass(frozen=True, slots=True)
class TagLinkTimes:
    """The links of one tag, with the times of their last writes by the store's clock."""

    index: Mapping[Digest, datetime] = field(default_factory=dict)
    """The manifests that the tag pointed at."""
    current: tuple[Digest, datetime] | None = None
    """The target of the tag; None if there is no such tag."""


class HistoryService:
    """Reads the history of tags; one per process.

    Args:
        storage: the store.
        tag_links: the tags of the store.
        log: reads the changes that are not folded yet.
        summaries: describes manifests.
    """

    def __init__(self, storage: BlobStorage, tag_links: TagLinks, *, log: ChangeLog, summaries: SummaryService) -> None:
        self._storage = storage
        self._tags = tag_links
        self._links = Links(storage)
        self._log = log
        self._summaries = summaries

    async def page(self, name: RepositoryName, tag: Tag, query: HistoryQuery) -> Page[HistoryEntry]:
        """Return entries of a tag's history, newest first; none for an unknown repository or tag.

        Entries whose manifest is not known are left out. Costs two listings, reads of the folded history and of the
        tag, and one of each record of the repository that is not folded and that this process has not read. Manifests
        that the folded history does not describe are summarized (`SummaryService.describe`).

        Raises:
            PaginationInvalidError: `last` is not a marker.
        """
        place = _parse_marker(query.last) if query.last else None
        if query.size == 0:
            return Page(items=[])
        entries = [
            entry
            for entry in await self._entries(name, tag)
            if entry.digest is not None
            and (place is None or entry.order < place)
            and (query.before is None or entry.at < query.before)
            and (query.since is None or entry.at > query.since)
            and query.digest in {None, entry.digest}
        ]
        shown = entries[: query.size]
        return Page(items=complete(shown, await self._describe(name, shown)), has_more=len(entries) > len(shown))

    async def held(self, name: RepositoryName, entries: Sequence[HistoryEntry]) -> frozenset[Digest]:
        """Return the manifests of these entries that the repository still holds. One request per manifest."""
        digests = list(dict.fromkeys(entry.digest for entry in entries if entry.digest is not None))

        async def is_held(digest: Digest) -> bool:
            return await self._links.stands(layout.revision_link(name, digest), digest)

        checked = zip(digests, await map_bounded(is_held, digests), strict=True)
        return frozenset(digest for digest, is_there in checked if is_there)

    async def _entries(self, name: RepositoryName, tag: Tag) -> Sequence[HistoryEntry]:
        # The folding job adds records to the history before it deletes them, so read the history after the records.
        changes = await self._log.changes(await self._log.listing(), name)
        history = await read_history(self._storage, name) or History()
        recorded = [(record.id, change) for record, found in changes for change in found if change.tag == tag]
        entries = merge(History({tag: history.lines.get(tag, b"")}), recorded).of(tag)
        return changes_of_target(complete(supplement(entries, await self._link_times(name, tag))))

    async def _link_times(self, name: RepositoryName, tag: Tag) -> TagLinkTimes:
        index: dict[Digest, datetime] = {}
        pushed_at: datetime | None = None
        count = 0
        async with closing(self._storage.walk(layout.tag(name, tag))) as objects:
            async for key, stat in objects:
                count += 1
                if key == layout.tag_current_link(name, tag):
                    pushed_at = stat.modified_at
                for digest in digests_in(key.removeprefix(layout.tag(name, tag))):
                    index[digest] = stat.modified_at
                if count == LINKS_MAX:
                    break
        current = await self._tags.resolve(name, tag) if pushed_at is not None else None
        return TagLinkTimes(index, (current, pushed_at) if current is not None and pushed_at is not None else None)

    async def _describe(self, name: RepositoryName, entries: Sequence[HistoryEntry]) -> Described:
        digests = {entry.digest for entry in entries if entry.digest is not None and not entry.media_type}
        summaries = await self._summaries.describe(name, digests) if digests else {}
        return {digest: (found.media_type, found.contents[digest]) for digest, found in summaries.items()}


def supplement(entries: Sequence[HistoryEntry], links: TagLinkTimes) -> Sequence[HistoryEntry]:
    """Return the entries of a tag, newest first, with those added that only its links show.

    A link is added if at its time the tag did not point at its manifest by the other entries, and no record near that
    time can be of the same push. So clocks that differ do not show a push twice. The target of the tag is the newest of
    the links, also if a tool copied the store and wrote the links in another order.
    """
    current, until = links.current or (None, None)
    times = {digest: at if until is None else min(at, until) for digest, at in links.index.items()}
    if current is not None and until is not None:
        times[current] = until
    recorded = sorted(entries, key=_order)
    creations: dict[Digest | None, list[datetime]] = {}
    for entry in recorded:
        if entry.is_creation:
            creations.setdefault(entry.digest, []).append(entry.at)
    added: list[HistoryEntry] = []
    remaining, target = deque(recorded), None
    for digest, at in sorted(times.items(), key=lambda link: (link[1], link[0] == current)):
        while remaining and remaining[0].at <= at:
            target = _target(remaining.popleft())
        if digest != target and not _is_near(at, creations.get(digest, ())):
            added.append(_from_link(digest, at, is_current=digest == current))
            target = digest
    newest = max([*recorded, *added], key=_order, default=None)
    if current is not None and newest is not None and not newest.is_recorded and newest.digest != current:
        added.append(_from_link(current, times[current], is_current=True))
    return sorted([*recorded, *added], key=_order, reverse=True)


def changes_of_target(entries: Sequence[HistoryEntry]) -> Sequence[HistoryEntry]:
    """Return the entries, newest first, without pushes of the manifest that the tag pointed at already.

    A process records such a push if it did not know the target of the tag.
    """
    kept: list[HistoryEntry] = []
    target: Digest | None = None
    for entry in reversed(entries):
        if not entry.is_creation or entry.digest is None or entry.digest != target:
            kept.append(entry)
        target = _target(entry)
    return kept[::-1]


def marker(entry: HistoryEntry) -> str:
    """Return the text after which the next page begins: the `last` of its request."""
    return f"{(entry.at - _EPOCH) // _MICROSECOND}|{entry.id}"


def as_json(entry: HistoryEntry) -> Mapping[str, str | int | bool]:
    """Return an entry as commands print it, without what is not known."""
    members = {
        "time": entry.time,
        "change": str(entry.kind),
        "digest": entry.digest or "",
        "mediaType": entry.media_type,
        "size": entry.size,
        "by": entry.by,
    }
    known = {key: value for key, value in members.items() if value}
    return known if entry.is_recorded else {**known, "recorded": False}


def parse_time(text: str) -> datetime | None:
    """Return the time that a query parameter contains; None if it is empty.

    Raises:
        InvalidInputError: it is not a time of RFC 3339.
    """
    if not text:
        return None
    try:
        # In a query, `+` stands for a space.
        return datetime.fromisoformat(_require_rfc_3339(text.replace(" ", "+")))
    except ValueError as error:
        raise InvalidInputError("a time must have the form 2026-11-29T20:15:00Z", detail=text[:64]) from error


def _require_rfc_3339(text: str) -> str:
    if not _RFC_3339.fullmatch(text):
        raise ValueError("not a time of RFC 3339")
    return text.upper()


def _parse_marker(text: str) -> tuple[datetime, str]:
    match = _MARKER.fullmatch(text)
    try:
        if match is not None:
            return _EPOCH + int(match[1]) * _MICROSECOND, match[2]
    except OverflowError:
        pass
    raise PaginationInvalidError("`last` must be that of a link")


def _order(entry: HistoryEntry) -> tuple[datetime, str]:
    return entry.order


def _target(entry: HistoryEntry | None) -> Digest | None:
    """Return the manifest that the tag points at after this entry."""
    return entry.digest if entry is not None and entry.is_creation else None


def _is_near(at: datetime, times: Sequence[datetime]) -> bool:
    return any(abs(time - at) <= SKEW for time in times)


def _from_link(digest: Digest, at: datetime, *, is_current: bool) -> HistoryEntry:
    # Of entries at the same time, that of the tag's target is the newest.
    number = 1 if is_current else 0
    return HistoryEntry(id=f"{number}-{digest.encoded}", at=at, kind=ChangeKind.PUSH, digest=digest, is_recorded=False)
