"""What tags are in storage: `current/link`, which alone makes a tag, and `index/…`, its history."""

import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from core import layout
from core.concurrency import closing, map_bounded
from core.digest import Digest
from core.errors import ObjectNotFoundError, TagInvalidError
from core.link_keys import digests_in
from core.links import Links, link_object
from core.names import RepositoryName, Tag, just_before
from core.ports.blob_storage import BlobStorage
from core.trash_entry import RemovedLink

_CURRENT = "/current/link"

_as_tag = lru_cache(maxsize=16_384)(Tag)
"""Reading a name is most of what a list of thousands of tags costs, and lists are asked for again and again."""


@dataclass(frozen=True, slots=True)
class TagTarget:
    """What a tag points at, and since when."""

    digest: Digest | None
    """None where the link holds no digest, or the tag is history only."""
    pushed_at: datetime | None
    """When it was last pushed, by the store's clock; None for a tag that is history only."""


class TagLinks:
    """Points tags at manifests and finds them; holds nothing, safe for any number of tasks."""

    def __init__(self, storage: BlobStorage, links: Links) -> None:
        self._storage = storage
        self._links = links

    async def resolve(self, name: RepositoryName, tag: Tag) -> Digest | None:
        """Return the digest that the tag points at, or None. One storage request."""
        return await self._links.read(layout.tag_current_link(name, tag))

    async def point(self, name: RepositoryName, tag: Tag, digest: Digest) -> None:
        """Point the tag at a manifest that is already stored. Two storage requests.

        `current` comes first: a tag directory that holds only history would be listed and could not be pulled.
        What a kill in between leaves is a tag without a line of history, which nothing needs.
        """
        links = (layout.tag_current_link(name, tag), layout.tag_index_link(name, tag, digest))
        await self._storage.write_all([link_object(link, digest) for link in links])

    async def keep(self, name: RepositoryName, tag: Tag, digest: Digest) -> Digest:
        """Point a tag at a manifest unless it points at one already; return what it points at then.

        Of several pushes at once one wins, as far as the store creates exclusively. Two or three storage requests.
        """
        if await self._storage.create(layout.tag_current_link(name, tag), digest.encode("ascii")):
            await self._links.write(layout.tag_index_link(name, tag, digest), digest)
            return digest
        current = await self.resolve(name, tag)
        if current is None:
            # A link that holds no digest, which nobody could pull: it is repaired.
            await self.point(name, tag, digest)
        return current or digest

    async def leftovers(self, name: RepositoryName, tag: Tag) -> Sequence[RemovedLink] | None:
        """Return the history of a tag that is listed and cannot be resolved, or None where no such tag is listed.

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

    async def names(self, name: RepositoryName, *, after: str = "") -> AsyncIterator[Tag]:
        """Yield the tags greater than `after`, ascending by code point. One request per 1,000 on object stores."""
        async for child in self._storage.list_children(layout.tags(name), after=after):
            try:
                yield _as_tag(child)
            except TagInvalidError:
                # Not written by a registry: a temporary file, or something a person put there.
                continue

    async def targets(self, name: RepositoryName, held: Iterable[Digest]) -> dict[Tag, TagTarget]:
        """Return every tag of a repository, one that is history only included, with what it points at.

        One listing, and a read per tag only where the store does not tell checksums in its listings, or the tag points
        at none of the manifests that are `held`.
        """
        by_md5 = {_md5_of(digest): digest for digest in held}
        targets: dict[Tag, TagTarget] = {}
        async for key, stat in self._storage.walk(layout.tags(name)):
            tag_name, _, rest = key.removeprefix(layout.tags(name) + "/").partition("/")
            try:
                tag = _as_tag(tag_name)
            except TagInvalidError:
                continue
            if f"/{rest}" == _CURRENT:
                targets[tag] = TagTarget(by_md5.get(stat.md5 or ""), stat.modified_at)
            else:
                targets.setdefault(tag, TagTarget(None, None))
        unknown = [tag for tag, target in targets.items() if target.digest is None and target.pushed_at is not None]

        async def resolve(tag: Tag) -> TagTarget:
            return TagTarget(await self.resolve(name, tag), targets[tag].pushed_at)

        return targets | dict(zip(unknown, await map_bounded(resolve, unknown), strict=True))

    async def stands(self, name: RepositoryName, tag: Tag, target: TagTarget) -> bool:
        """Whether a tag has not been pushed, moved or deleted since `targets` told of it. One storage request.

        Some stores tell milliseconds in a listing and seconds elsewhere; then the checksum has to be the same too, and
        a push of the same manifest in the second of the push before goes unnoticed.
        """
        try:
            stat = await self._storage.stat(layout.tag_current_link(name, tag))
        except ObjectNotFoundError:
            return False
        if target.digest is None or target.pushed_at is None:
            return False
        if stat.md5 is None:
            return stat.modified_at == target.pushed_at
        return stat.md5 == _md5_of(target.digest) and abs(stat.modified_at - target.pushed_at) < timedelta(seconds=1)

    async def pointing_at(self, name: RepositoryName, digest: Digest) -> list[Tag]:
        """Return the tags that point at a manifest.

        One listing, and a read per tag only where the store does not tell checksums in its listings: 51 tags on
        an object store cost one request instead of 52.
        """
        link_md5 = _md5_of(digest)
        certain: list[Tag] = []
        to_read: list[Tag] = []
        async for key, stat in self._storage.walk(layout.tags(name)):
            tag = _tag_of_current_link(name, key)
            if tag is None:
                continue
            # Another length is another algorithm, or a link that a person wrote with a newline.
            if stat.md5 is None or stat.size != len(digest):
                to_read.append(tag)
            elif stat.md5 == link_md5:
                certain.append(tag)

        async def resolve(tag: Tag) -> Digest | None:
            return await self.resolve(name, tag)

        resolved = await map_bounded(resolve, to_read)
        return certain + [tag for tag, target in zip(to_read, resolved, strict=True) if target == digest]


def _md5_of(digest: Digest) -> str:
    """Return the checksum of a link to `digest`, as stores tell it."""
    return hashlib.md5(digest.encode("ascii"), usedforsecurity=False).hexdigest()


def _tag_of_current_link(name: RepositoryName, key: str) -> Tag | None:
    relative = key.removeprefix(layout.tags(name) + "/")
    if not relative.endswith(_CURRENT):
        return None
    try:
        return Tag(relative.removesuffix(_CURRENT))
    except TagInvalidError:
        return None
