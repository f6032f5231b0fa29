"""The tags of repositories, kept in memory and compared with the store before each answer.

The store is the truth: an answer is never older than its question, except in a repository of more than 1,000 tags,
where a change without a record (of another registry on the same store) is noticed within a minute.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from core.concurrency import map_bounded, retrieve_error
from core.content_source import Offload
from core.errors import NameUnknownError
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.ports.blob_storage import BlobStorage, ObjectStat
from core.store import layout
from core.store.link_keys import RevisionKey, parse_link_key
from core.store.objects import find
from core.store.repositories import require_repository
from core.store.tag_links import TagLinks, link_md5
from core.summaries.authors import Authors
from core.summaries.changes import ChangeListing, ChangeLog
from core.summaries.history import read_history
from core.summaries.sharing import SharedLooks

TAGS_REMEMBERED_MAX: Final = 50_000
"""Maximum number of tags that a process keeps in memory, about 30 MB."""
WALKED_OBJECTS_MAX: Final = 2_000
"""A larger tree of tags costs more than two requests; only tags with a record are looked at between two walks."""
WALK_SECONDS: Final = 60.0
"""Maximum age of the last walk of a large tree."""
EARLY_WALK_SECONDS: Final = 30.0
"""Age at which the next walk begins in the background, so that no caller waits for it while there are many."""
EXPLAINED_SECONDS: Final = 60.0
"""Time during which the record of a changed tag is expected; a push writes its record after the tag."""
_TAGS_LOOKED_AT_MAX: Final = 100
"""If the records name more tags than this, the tree is walked."""
_READS_MAX: Final = 20
"""If more links have an unknown target, the manifests of the repository are listed to recognize them."""
_SETTLED: Final = timedelta(seconds=10)
"""A link without a checksum may change again within the resolution of its time, until it is this old."""
_PRECISION: Final = timedelta(seconds=1)
"""Some stores report the time of an object in whole seconds, and in milliseconds in listings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TagState:
    """The target of a tag."""

    digest: Digest
    pushed_at: datetime
    """Time of the last push, UTC-aware: as recorded, or else that of the link."""
    pushed_by: str = ""
    """The user of the last push, if it was recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryView:
    """The tags of a repository at one moment."""

    name: RepositoryName
    tags: Mapping[Tag, TagState]
    """In ascending order of the tags."""
    version: str
    """A text that differs whenever the tags differ, for `ETag`; the same in all processes."""


@dataclass(frozen=True, slots=True)
class _Link:
    """A link as it was last read."""

    stat: ObjectStat
    digest: Digest | None
    is_settled: bool
    """Whether a link with the same checksum, or else the same time, certainly has the same target."""

    def stands(self, stat: ObjectStat) -> bool:
        """Whether the link is certainly unchanged."""
        if not self.is_settled:
            return False
        if stat.md5 is None:
            return stat == self.stat
        return stat.md5 == self.stat.md5 and abs(stat.modified_at - self.stat.modified_at) < _PRECISION


@dataclass(frozen=True, slots=True)
class _Walk:
    """All tags at one moment."""

    listing: ChangeListing
    """The records that were listed before the walk."""
    stats: Mapping[Tag, ObjectStat]
    objects: int
    walked_at: float


@dataclass(slots=True, kw_only=True)
class _Known:
    """The state of a repository as a process last saw it."""

    view: RepositoryView
    links: dict[Tag, _Link]
    authors: Authors
    objects: int
    walked_at: float
    seen: frozenset[str] = field(default_factory=frozenset)
    """The records that were listed before the last look at the tags."""
    unexplained: Mapping[Tag, float] = field(default_factory=dict)
    """Tags that changed without a record so far, with the time when this was noticed."""
    walk: asyncio.Task[_Walk] | None = None
    """A walk in the background whose result is not used yet."""

    @property
    def weight(self) -> int:
        """The share of the memory."""
        return 1 + len(self.links)


class TagViews:
    """The tags of repositories; one per process.

    Args:
        storage: the store.
        tag_links: the tags of the store.
        log: the changes that are not folded yet.
        clock: monotonic seconds.
        now: the current time, UTC-aware.
        offload: runs a function in a thread.
    """

    def __init__(
        self,
        storage: BlobStorage,
        tag_links: TagLinks,
        log: ChangeLog,
        *,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        offload: Offload,
    ) -> None:
        self._storage = storage
        self._tags = tag_links
        self._log = log
        self._clock = clock
        self._now = now
        self._offload = offload
        self._known: OrderedDict[RepositoryName, _Known] = OrderedDict()
        self._weight = 0
        self._looks: SharedLooks[RepositoryName, RepositoryView] = SharedLooks()

    async def view(self, name: RepositoryName) -> RepositoryView:
        """Return the tags of a repository; callers that wait for the same repository share one look at the store.

        Raises:
            NameUnknownError: the repository does not exist.
        """
        return await self._looks.run(name, partial(self._look, name))

    async def _look(self, name: RepositoryName) -> RepositoryView:
        known = self._forget(name)
        try:
            new = await self._refreshed(name, known)
        except NameUnknownError:
            raise
        except BaseException:
            if known is not None:
                self._keep(name, known)
            raise
        self._keep(name, new)
        return new.view

    def _forget(self, name: RepositoryName) -> _Known | None:
        known = self._known.pop(name, None)
        self._weight -= known.weight if known else 0
        return known

    def _keep(self, name: RepositoryName, known: _Known) -> None:
        self._known[name] = known
        self._weight += known.weight
        while self._weight > TAGS_REMEMBERED_MAX:
            self._forget(next(iter(self._known)))

    async def _refreshed(self, name: RepositoryName, known: _Known | None) -> _Known:
        if known is not None and known.objects <= WALKED_OBJECTS_MAX:
            return await self._walked(name, known, None)
        # Listed before the walk, so that a record that is not listed here belongs to a change that may be missed.
        listing = await self._log.listing()
        if known is not None:
            known = await self._with_walk(name, known)
            age = self._clock() - known.walked_at
            if listing.is_complete and age < WALK_SECONDS:
                known = await self._followed(name, known, listing)
                if age >= EARLY_WALK_SECONDS and known.walk is None:
                    known.walk = asyncio.get_running_loop().create_task(self._walk(name))
                    known.walk.add_done_callback(retrieve_error)
                return known
        return await self._walked(name, known, listing)

    async def _walk(self, name: RepositoryName) -> _Walk:
        walked_at = self._clock()
        listing = await self._log.listing()
        stats, objects = await self._tags.current_links(name)
        return _Walk(listing, stats, objects, walked_at)

    async def _with_walk(self, name: RepositoryName, known: _Known) -> _Known:
        """Use the result of the walk in the background, if it has ended; the caller then follows newer records."""
        if known.walk is None or not known.walk.done():
            return known
        task, known.walk = known.walk, None
        if task.cancelled() or task.exception() is not None or not task.result().stats:
            # The next walk, for which a caller waits, finds out why.
            return known
        walk = task.result()
        if walk.walked_at < known.walked_at:
            # A caller has walked in the meantime.
            return known
        links = await self._resolved(name, walk.stats, known.links)
        return await self._explained(name, known, links, walk.listing, objects=walk.objects, walked_at=walk.walked_at)

    async def _walked(self, name: RepositoryName, known: _Known | None, listing: ChangeListing | None) -> _Known:
        """Read all tags. One request per 1,000 objects, and one for each link whose target is not known."""
        walked_at = self._clock()
        stats, objects = await self._tags.current_links(name)
        if not stats:
            await require_repository(self._storage, name)
        links = await self._resolved(name, stats, known.links if known else {})
        return await self._explained(name, known, links, listing, objects=objects, walked_at=walked_at)

    async def _followed(self, name: RepositoryName, known: _Known, listing: ChangeListing) -> _Known:
        """Read the tags that new records name."""
        changes = await self._log.changes(listing, name)
        new = [found for record, found in changes if record.name not in known.seen]
        if not new and not known.unexplained:
            known.seen = listing.names
            return known
        tags = {change.tag for found in new for change in found}
        if None in tags or len(tags) > _TAGS_LOOKED_AT_MAX:
            return await self._walked(name, known, listing)
        named = [tag for tag in tags if tag is not None]

        async def look(tag: Tag) -> ObjectStat | None:
            return await find(self._storage, layout.tag_current_link(name, tag))

        found = zip(named, await map_bounded(look, named), strict=True)
        stats = {tag: stat for tag, stat in found if stat is not None}
        others = {tag: link for tag, link in known.links.items() if tag not in tags}
        links = others | await self._resolved(name, stats, known.links)
        return await self._explained(name, known, links, listing, objects=known.objects, walked_at=known.walked_at)

    async def _resolved(
        self, name: RepositoryName, stats: Mapping[Tag, ObjectStat], old: Mapping[Tag, _Link]
    ) -> dict[Tag, _Link]:
        """Return the links with these properties, with their targets."""
        links = {tag: old[tag] for tag, stat in stats.items() if tag in old and old[tag].stands(stat)}
        by_md5 = {link.stat.md5: link.digest for link in old.values() if link.is_settled and link.digest}
        unknown = [tag for tag in stats if tag not in links and stats[tag].md5 not in by_md5]
        if sum(1 for tag in unknown if stats[tag].md5) > _READS_MAX:
            by_md5 |= {link_md5(digest): digest for digest in await self._held(name)}

        async def resolve(tag: Tag) -> _Link:
            stat = stats[tag]
            if stat.md5 is not None and stat.md5 in by_md5:
                return _Link(stat, by_md5[stat.md5], is_settled=True)
            return self._link(stat, await self._tags.resolve(name, tag))

        changed = [tag for tag in stats if tag not in links]
        return links | dict(zip(changed, await map_bounded(resolve, changed), strict=True))

    def _link(self, stat: ObjectStat, digest: Digest | None) -> _Link:
        if stat.md5 is not None:
            # Otherwise the link changed after it was listed, or its content has a newline.
            return _Link(stat, digest, is_settled=digest is not None and link_md5(digest) == stat.md5)
        return _Link(stat, digest, is_settled=self._now() - stat.modified_at > _SETTLED)

    async def _held(self, name: RepositoryName) -> list[Digest]:
        keys = [key async for key, _ in self._storage.walk(layout.revisions(name))]
        return [link.digest for link in map(parse_link_key, keys) if isinstance(link, RevisionKey)]

    async def _explained(
        self,
        name: RepositoryName,
        known: _Known | None,
        links: dict[Tag, _Link],
        listing: ChangeListing | None,
        *,
        objects: int,
        walked_at: float,
    ) -> _Known:
        """Find out who pushed the tags that changed, and when."""
        old = known.links if known else {}
        changed = {tag for tag, link in links.items() if tag not in old or (old[tag] is not link and old[tag] != link)}
        seconds = self._clock()
        waiting = {} if known is None else known.unexplained
        unexplained = {
            tag: since for tag, since in waiting.items() if tag in links and seconds - since < EXPLAINED_SECONDS
        } | dict.fromkeys(changed, seconds)
        authors = Authors() if known is None else known.authors
        updated: set[Tag] = set()
        if known is None or unexplained or listing is not None:
            listing = listing or await self._log.listing()
            updated = authors.add(await self._log.changes(listing, name), links)
            if known is None or not changed <= updated:
                history = await read_history(self._storage, name)
                # Thousands of tags take noticeable time.
                updated |= await self._offload(authors.add_history, history, links.keys() - updated)
        seen = listing.names if listing else known.seen if known else frozenset()
        return _Known(
            view=_view_of(name, links, authors) if known is None or updated or links != old else known.view,
            links=links,
            authors=authors,
            objects=objects,
            walked_at=walked_at,
            seen=seen,
            unexplained={tag: since for tag, since in unexplained.items() if tag not in updated},
            walk=known.walk if known else None,
        )


def _view_of(name: RepositoryName, links: Mapping[Tag, _Link], authors: Authors) -> RepositoryView:
    tags: dict[Tag, TagState] = {}
    checksum = hashlib.blake2b(name.encode(), digest_size=16)
    for tag, link in sorted(links.items()):
        if link.digest is None:
            continue
        author = authors.of(tag, link.digest)
        pushed_at, pushed_by = (author.at, author.by) if author else (link.stat.modified_at, "")
        tags[tag] = TagState(digest=link.digest, pushed_at=pushed_at, pushed_by=pushed_by)
        checksum.update(f"{tag} {link.digest} {pushed_at.isoformat()} {pushed_by}\n".encode())
    return RepositoryView(name=name, tags=tags, version=checksum.hexdigest())
