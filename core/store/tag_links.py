"""Tags in storage: `current/link`, which makes a tag exist, and `index/…`, its history."""

import hashlib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from core.concurrency import closing, map_bounded
from core.errors import TagInvalidError
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag, just_before, tags_among
from core.ports.blob_storage import BlobStorage, ObjectStat
from core.store import layout
from core.store.link_keys import digests_in
from core.store.links import Links, RemovedLink, link_object
from core.store.objects import find, reads_at_once

_CHECKED_AT_ONCE: Final = 1_000
"""Pages of a folder may be long, and clients may want few of the names."""
_as_tag = lru_cache(maxsize=16_384)(Tag)
"""Validation of names dominates the cost of listing thousands of tags, and the same lists are requested repeatedly."""


@dataclass(frozen=True, slots=True)
class TagTarget:
    """The target of a tag, and the time of its last push."""

    digest: Digest | None
    """None if the link holds no digest, or the tag has only history."""
    pushed_at: datetime | None
    """The time of the last push, by the store's clock; None if the tag has only history."""


class TagLinks:
    """Reads and writes the links of tags. Stateless; safe for concurrent tasks."""

    def __init__(self, storage: BlobStorage, links: Links) -> None:
        self._storage = storage
        self._links = links

    async def resolve(self, name: RepositoryName, tag: Tag) -> Digest | None:
        """Return the digest that the tag points at, or None. One storage request."""
        return await self._links.read(layout.tag_current_link(name, tag))

    async def point(self, name: RepositoryName, tag: Tag, digest: Digest) -> None:
        """Point the tag at a manifest that is already stored. Two storage requests.

        `current` is written first, because a tag directory that holds only history would be listed but could not be
        pulled. If the process is killed in between, the tag lacks a history entry, which is harmless.
        """
        links = (layout.tag_current_link(name, tag), layout.tag_index_link(name, tag, digest))
        await self._storage.write_all([link_object(link, digest) for link in links])

    async def keep(self, name: RepositoryName, tag: Tag, digest: Digest) -> Digest:
        """Point a tag at a manifest unless the tag already points at one; return the resulting target.

        Of several concurrent pushes one wins, if the store creates objects exclusively. Two or three storage requests.
        """
        if await self._storage.create(layout.tag_current_link(name, tag), digest.encode("ascii")):
            await self._links.write(layout.tag_index_link(name, tag, digest), digest)
            return digest
        current = await self.resolve(name, tag)
        if current is None:
            # The link holds no digest, so the tag cannot be pulled; repair it.
            await self.point(name, tag, digest)
        return current or digest

    async def leftovers(self, name: RepositoryName, tag: Tag) -> Sequence[RemovedLink] | None:
        """Return the history of a tag that is listed but cannot be resolved, or None if no such tag is listed.

        Two storage requests.
        """
        async with closing(self._storage.list_children(layout.tags(name), after=just_before(tag))) as names:
            if await anext(names, None) != tag:
                return None
        keys = [key async for key, _ in self._storage.walk(layout.tag(name, tag))]
        return [RemovedLink(key, digest) for key in keys for digest in digests_in(key)]

    async def remove(self, name: RepositoryName, tags: Sequence[Tag]) -> None:
        """Remove tags with their history. Idempotent."""
        if tags:
            await self._storage.delete_tree(*(layout.tag(name, tag) for tag in tags))

    async def listed(self, name: RepositoryName, *, after: str = "", limit: int = sys.maxsize) -> list[Tag]:
        """Return the first `limit` tags greater than `after`, ascending by code point.

        One request per 1,000 on object stores.
        """
        tags: list[Tag] = []
        async with closing(self._storage.list_child_pages(layout.tags(name), after=after)) as pages:
            async for children in pages:
                position = 0
                while position < len(children):
                    some = children[position : position + min(limit - len(tags), _CHECKED_AT_ONCE)]
                    # Other names were not written by a registry: a temporary file, or a file added by hand.
                    tags += tags_among(some)
                    position += len(some)
                    if len(tags) == limit:
                        return tags
        return tags

    async def targets(self, name: RepositoryName, held: Iterable[Digest]) -> dict[Tag, TagTarget]:
        """Return every tag of a repository with its target, including tags that have only history.

        Costs one listing. A tag costs a read in addition if the store does not list checksums, or if the tag points at
        none of the manifests in `held`.
        """
        by_md5 = {link_md5(digest): digest for digest in held}
        targets: dict[Tag, TagTarget] = {}
        async for key, stat in self._storage.walk(layout.tags(name)):
            tag_name, _, rest = key.removeprefix(layout.tags(name) + "/").partition("/")
            try:
                tag = _as_tag(tag_name)
            except TagInvalidError:
                continue
            if f"/{rest}" == layout.CURRENT_LINK:
                targets[tag] = TagTarget(by_md5.get(stat.md5 or ""), stat.modified_at)
            else:
                targets.setdefault(tag, TagTarget(None, None))
        unknown = [tag for tag, target in targets.items() if target.digest is None and target.pushed_at is not None]

        async def resolve(tag: Tag) -> TagTarget:
            return TagTarget(await self.resolve(name, tag), targets[tag].pushed_at)

        return targets | dict(zip(unknown, await map_bounded(resolve, unknown), strict=True))

    async def current_links(self, name: RepositoryName) -> tuple[dict[Tag, ObjectStat], int]:
        """Return the properties of the link of each tag, and the number of objects listed. Costs one listing."""
        links: dict[Tag, ObjectStat] = {}
        objects = 0
        async for key, stat in self._storage.walk(layout.tags(name)):
            objects += 1
            if (tag := _tag_of_current_link(name, key)) is not None:
                links[tag] = stat
        return links, objects

    async def stands(self, name: RepositoryName, tag: Tag, target: TagTarget) -> bool:
        """Whether a tag was neither pushed, moved nor deleted since `targets` returned it. One storage request.

        Some stores report milliseconds in a listing and whole seconds elsewhere. If the store provides checksums, the
        checksum must match and the times may differ by less than a second. A push of the same manifest within that
        second goes unnoticed.
        """
        stat = await find(self._storage, layout.tag_current_link(name, tag))
        if stat is None or target.digest is None or target.pushed_at is None:
            return False
        if stat.md5 is None:
            return stat.modified_at == target.pushed_at
        return stat.md5 == link_md5(target.digest) and abs(stat.modified_at - target.pushed_at) < timedelta(seconds=1)

    async def pointing_at(self, name: RepositoryName, digest: Digest) -> list[Tag]:
        """Return the tags that point at a manifest.

        Costs one listing, and a read per tag only if the store does not list checksums: 51 tags on an object store cost
        one request instead of 52.
        """
        if not self._storage.tells_md5:
            return await self._resolving_to(digest, await self.listed(name), name)
        wanted = link_md5(digest)
        certain: list[Tag] = []
        to_read: list[Tag] = []
        async for key, stat in self._storage.walk(layout.tags(name)):
            tag = _tag_of_current_link(name, key)
            if tag is None:
                continue
            # Another length means another algorithm, or a link that was edited by hand and ends with a newline.
            if stat.md5 is None or stat.size != len(digest):
                to_read.append(tag)
            elif stat.md5 == wanted:
                certain.append(tag)

        return certain + await self._resolving_to(digest, to_read, name)

    async def _resolving_to(self, digest: Digest, tags: Sequence[Tag], name: RepositoryName) -> list[Tag]:
        async def resolve(tag: Tag) -> Digest | None:
            return await self.resolve(name, tag)

        resolved = await map_bounded(resolve, tags, at_once=reads_at_once(self._storage, len(tags)))
        return [tag for tag, target in zip(tags, resolved, strict=True) if target == digest]


def link_md5(digest: Digest) -> str:
    """Return the MD5 of a link to `digest`, as stores report it."""
    return hashlib.md5(digest.encode("ascii"), usedforsecurity=False).hexdigest()


def _tag_of_current_link(name: RepositoryName, key: str) -> Tag | None:
    relative = key.removeprefix(layout.tags(name) + "/")
    if not relative.endswith(layout.CURRENT_LINK):
        return None
    try:
        return _as_tag(relative.removesuffix(layout.CURRENT_LINK))
    except TagInvalidError:
        return None
