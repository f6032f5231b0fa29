"""What differs in one repository between two storages, found by listing both.

The source is listed in the order tags, revisions, referrers, and only then layers: a push writes in the opposite
order, so whatever was pushed meanwhile, a list holds all that the lists before it depend on.
"""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from core import layout
from core.budget import Budget
from core.digest import Digest
from core.errors import DigestInvalidError, ObjectNotFoundError, ObjectTooLargeError, TagInvalidError
from core.names import RepositoryName, Tag
from core.ports.blob_storage import BlobStorage, ObjectStat
from core.transfer.blobs import Work
from core.transfer.tasks import for_each, stream

LINK_BYTES_MAX: Final = 1024
"""A link is 71 or 135 bytes long; something longer is no link."""
_PAGE: Final = 1000
"""How many objects one request of a listing tells."""
_LINK: Final = "/link"
_CURRENT: Final = "/current/link"


@dataclass(slots=True, kw_only=True)
class TagChange:
    """What a tag lacks at the target."""

    current: bytes | None = None
    """What its link holds at the source, or None where the target's holds the same."""
    history: list[str] = field(default_factory=list)
    """Links of `index/`, relative to the tags of the repository."""


@dataclass(slots=True, kw_only=True)
class Differences:
    """What one repository lacks at the target, and what it has there beyond the source.

    Held whole: about 200 bytes for each tag, manifest and layer link of the repository.
    """

    tags: dict[Tag, TagChange] = field(default_factory=dict)
    revisions: list[Digest] = field(default_factory=list)
    """Manifests whose link the target lacks."""
    signatures: list[str] = field(default_factory=list)
    """Links of schema 1 signatures that it lacks, relative to the revisions."""
    referrers: list[str] = field(default_factory=list)
    present_revisions: set[Digest] = field(default_factory=set)
    """Manifests that both have."""
    present_layers: set[str] = field(default_factory=set)
    """The target's links of layers, relative, before the copy."""
    phantoms: set[Tag] = field(default_factory=set)
    """Tags of the source with history and no link that could be read: nobody can pull them."""
    extra_tags: set[str] = field(default_factory=set)
    extra_revisions: set[str] = field(default_factory=set)
    extra_referrers: set[str] = field(default_factory=set)
    """What the target alone has, relative keys."""


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A tag's link of which the listings do not tell whether both storages hold the same."""

    tag: Tag
    key: str
    source_md5: str | None
    target_md5: str | None
    is_known: bool
    """Whether the target has such a link."""


class Comparison:
    """Compares repositories; holds nothing between them."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._source = work.source
        self._target = work.target

    async def differences(self, name: RepositoryName) -> Differences:
        """List tags, manifests and referrers of both storages, and the layers of the target.

        One request per 1,000 objects on object stores, and a read of a tag's link where the listing does not tell its
        checksum: none between two object stores, one of a file between a folder and an object store.
        """
        found = Differences()
        await self._compare_tags(name, found)
        await self._compare_revisions(name, found)
        found.extra_referrers = await self._keys(self._target, layout.subjects(name))
        async for key, _ in self._links(self._source, layout.subjects(name)):
            if key in found.extra_referrers:
                found.extra_referrers.discard(key)
            else:
                found.referrers.append(key)
        found.present_layers = await self._keys(self._target, layout.layers(name))
        return found

    async def layers(self, name: RepositoryName) -> AsyncIterator[str]:
        """Yield the source's links of layers, relative to the repository's layers; to be listed last."""
        async for key, _ in self._links(self._source, layout.layers(name)):
            yield key

    async def unlinked(self, name: RepositoryName) -> AsyncIterator[Digest]:
        """Yield the digests whose layer links the target lacks."""
        present = await self._keys(self._target, layout.layers(name))
        async for key in self.layers(name):
            if key not in present and (digest := digest_of_link(key)) is not None:
                yield digest

    async def read(self, storage: BlobStorage, key: str) -> bytes | None:
        """Return what a link holds, or None where there is none or nothing that a link could hold."""
        return await read_link(storage, key, self._work.budget)

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
            if not key.endswith(_CURRENT):
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
            # Where one store tells a checksum, reading the other's link is enough: a folder's costs next to nothing.
            if doubt.source_md5 is not None and doubt.is_known and doubt.target_md5 is None:
                held = await self.read(self._target, doubt.key)
                if held is not None and _md5(held) == doubt.source_md5:
                    return
            content = await self.read(self._source, doubt.key)
            if content is None or digest_in(content) is None:
                found.phantoms.add(doubt.tag)
            elif not await self._holds(doubt, content):
                found.tags.setdefault(doubt.tag, TagChange()).current = content

        await for_each(settle, stream(doubtful))

    async def _holds(self, doubt: _Doubt, content: bytes) -> bool:
        """Whether the target's link holds this."""
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
                # `<alg>/<hex>/signatures/<alg>/<hex>/link`, of schema 1.
                if not is_known:
                    found.signatures.append(key)
            elif is_known:
                found.present_revisions.add(digest)
            else:
                found.revisions.append(digest)

    async def _keys(self, storage: BlobStorage, prefix: str) -> set[str]:
        return {key async for key, _ in self._links(storage, prefix)}

    async def _links(self, storage: BlobStorage, prefix: str) -> AsyncIterator[tuple[str, ObjectStat]]:
        """Yield the links below `prefix` by their relative keys; what else lies there is no registry's."""
        count = 0
        await self._work.budget.take()
        async for key, stat in storage.walk(prefix):
            count += 1
            if count % _PAGE == 0:
                await self._work.budget.take()
            relative = key.removeprefix(f"{prefix}/")
            if relative.endswith(_LINK):
                yield relative, stat
            elif storage is self._source:
                self._work.tally.add(ignored=1)

    def _tag(self, key: str) -> Tag | None:
        try:
            return Tag(key.partition("/")[0])
        except TagInvalidError:
            # Not written by a registry: something that a person put there.
            self._work.tally.add(ignored=1)
            return None


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def digest_of_link(key: str) -> Digest | None:
    """Return the digest of a relative key `<alg>/<hex>/link`, or None for another one."""
    algorithm, _, rest = key.partition("/")
    try:
        return Digest(f"{algorithm}:{rest.removesuffix(_LINK)}")
    except DigestInvalidError:
        return None


def digest_in(content: bytes) -> Digest | None:
    """Return the digest that a link holds, or None; people who repair a store by hand leave a newline."""
    try:
        return Digest(content.decode("ascii").rstrip("\n"))
    except (UnicodeDecodeError, DigestInvalidError):
        return None


async def read_link(storage: BlobStorage, key: str, budget: Budget) -> bytes | None:
    """Return what a link holds, byte for byte, or None where there is none or something too long for one."""
    await budget.take()
    try:
        return await storage.read(key, limit=LINK_BYTES_MAX)
    except (ObjectNotFoundError, ObjectTooLargeError):
        return None
