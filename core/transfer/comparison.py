"""Differences in one repository between two storages, found by listing both.

The source is listed in the order tags, revisions, referrers, layers. A push writes in the opposite order, so each list
contains everything that the lists before it depend on, even if clients push during the comparison.
"""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from core.concurrency import for_each, stream
from core.errors import TagInvalidError
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.ports.blob_storage import BlobStorage, ObjectStat
from core.store import layout
from core.store.link_keys import digest_at
from core.store.links import parse_link, read_link
from core.transfer.context import CopyContext


@dataclass(slots=True, kw_only=True)
class TagChange:
    """The parts of a tag that the target lacks."""

    current: bytes | None = None
    """Content of the source's link, or None if the target's link has the same content."""
    history: list[str] = field(default_factory=list)
    """Links of `index/` that the target lacks, relative to the tags of the repository."""


@dataclass(slots=True, kw_only=True)
class Differences:
    """Content of one repository that the target lacks, and content that only the target has.

    Held in memory: about 200 bytes for each tag, manifest and layer link of the repository.
    """

    tags: dict[Tag, TagChange] = field(default_factory=dict)
    revisions: list[Digest] = field(default_factory=list)
    """Manifests whose link the target lacks."""
    signatures: list[str] = field(default_factory=list)
    """Links of schema 1 signatures that the target lacks, relative to the revisions."""
    referrers: list[str] = field(default_factory=list)
    present_revisions: set[Digest] = field(default_factory=set)
    """Manifests that both storages have."""
    present_layers: set[str] = field(default_factory=set)
    """The layer links of the target before the copy, as relative keys.

    `RepositoryTransfer` drops those that the source has; the rest are extra links.
    """
    phantoms: set[Tag] = field(default_factory=set)
    """Tags of the source that have a history but no readable link. Clients cannot pull them."""
    extra_tags: set[str] = field(default_factory=set)
    extra_revisions: set[str] = field(default_factory=set)
    extra_referrers: set[str] = field(default_factory=set)
    """Relative keys that only the target has, as in `extra_tags` and `extra_revisions`."""


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A tag link for which the listings do not show whether both storages hold the same digest."""

    tag: Tag
    key: str
    source_md5: str | None
    target_md5: str | None
    is_known: bool
    """Whether the target has this link."""


class Comparison:
    """Compares repositories. Keeps no state between them."""

    def __init__(self, context: CopyContext) -> None:
        self._context = context
        self._source = context.source
        self._target = context.target

    async def differences(self, name: RepositoryName) -> Differences:
        """List tags, manifests and referrers of both storages, and the layers of the target.

        Costs one request per 1,000 objects on object stores. An unchanged tag costs no read between two object stores,
        and one read of a file between a folder and an object store. A changed tag costs one more read.
        """
        found = Differences()
        await self._compare_tags(name, found)
        await self._compare_revisions(name, found)
        found.extra_referrers = await self._keys(self._target, layout.all_referrers(name))
        async for key, _ in self._links(self._source, layout.all_referrers(name)):
            if key in found.extra_referrers:
                found.extra_referrers.discard(key)
            else:
                found.referrers.append(key)
        found.present_layers = await self._keys(self._target, layout.layers(name))
        return found

    async def layers(self, name: RepositoryName) -> AsyncIterator[str]:
        """Yield the source's layer links, relative to the repository's layers. Must be listed last."""
        async for key, _ in self._links(self._source, layout.layers(name)):
            yield key

    async def unlinked(self, name: RepositoryName) -> AsyncIterator[Digest]:
        """Yield the digests whose layer links the target lacks."""
        present = await self._keys(self._target, layout.layers(name))
        async for key in self.layers(name):
            if key not in present and (digest := digest_of_link(key)) is not None:
                yield digest

    async def read(self, storage: BlobStorage, key: str) -> bytes | None:
        """Return the content of a link, or None if there is none or it is too long for a link."""
        await self._context.budget.take()
        return (await read_link(storage, key)).content

    async def _compare_tags(self, name: RepositoryName, found: Differences) -> None:
        prefix = layout.tags(name)
        target = {key: stat.md5 async for key, stat in self._links(self._target, prefix)}
        found.extra_tags = set(target)
        tagged: set[Tag] = set()
        doubtful: list[_Doubt] = []
        async for key, stat in self._links(self._source, prefix):
            tag = self._tag(key)
            if tag is None:
                continue
            found.extra_tags.discard(key)
            if not key.endswith(layout.CURRENT_LINK):
                found.phantoms.add(tag)
                if key not in target:
                    found.tags.setdefault(tag, TagChange()).history.append(key)
                continue
            tagged.add(tag)
            if stat.md5 is None or stat.md5 != target.get(key):
                doubtful.append(_Doubt(tag, f"{prefix}/{key}", stat.md5, target.get(key), is_known=key in target))
        found.phantoms -= tagged
        await self._settle(doubtful, found)

    async def _settle(self, doubtful: list[_Doubt], found: Differences) -> None:
        async def settle(doubt: _Doubt) -> None:
            # If the source lists a checksum, reading the target's link is enough. On a folder this is cheap.
            if doubt.source_md5 is not None and doubt.is_known and doubt.target_md5 is None:
                held = await self.read(self._target, doubt.key)
                if held is not None and _md5(held) == doubt.source_md5:
                    return
            content = await self.read(self._source, doubt.key)
            if content is None or parse_link(content) is None:
                found.phantoms.add(doubt.tag)
            elif not await self._holds(doubt, content):
                found.tags.setdefault(doubt.tag, TagChange()).current = content

        await for_each(settle, stream(doubtful))

    async def _holds(self, doubt: _Doubt, content: bytes) -> bool:
        """Whether the target's link has this content."""
        if not doubt.is_known:
            return False
        if doubt.target_md5 is not None:
            return _md5(content) == doubt.target_md5
        return doubt.source_md5 is None and content == await self.read(self._target, doubt.key)

    async def _compare_revisions(self, name: RepositoryName, found: Differences) -> None:
        prefix = layout.revisions(name)
        found.extra_revisions = await self._keys(self._target, prefix)
        async for key, _ in self._links(self._source, prefix):
            digest = digest_of_link(key)
            is_known = key in found.extra_revisions
            found.extra_revisions.discard(key)
            if digest is None:
                # A signature of schema 1: `<alg>/<hex>/signatures/<alg>/<hex>/link`.
                if not is_known:
                    found.signatures.append(key)
            elif is_known:
                found.present_revisions.add(digest)
            else:
                found.revisions.append(digest)

    async def _keys(self, storage: BlobStorage, prefix: str) -> set[str]:
        return {key async for key, _ in self._links(storage, prefix)}

    async def _links(self, storage: BlobStorage, prefix: str) -> AsyncIterator[tuple[str, ObjectStat]]:
        """Yield the links below `prefix` by their relative keys. Other objects do not belong to a registry."""
        async for key, stat in self._context.budget.pace(storage.walk(prefix)):
            relative = key.removeprefix(f"{prefix}/")
            if relative.endswith(layout.LINK):
                yield relative, stat
            elif storage is self._source:
                self._context.tally.add(ignored=1)

    def _tag(self, key: str) -> Tag | None:
        try:
            return Tag(key.partition("/")[0])
        except TagInvalidError:
            # Not written by a registry but put there by hand.
            self._context.tally.add(ignored=1)
            return None


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def digest_of_link(key: str) -> Digest | None:
    """Return the digest in a relative key `<alg>/<hex>/link`, or None for any other key."""
    algorithm, _, rest = key.partition("/")
    return digest_at(algorithm, rest.removesuffix(layout.LINK))
