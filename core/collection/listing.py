"""Listings of the links and blobs in a store. Manifests are not read here."""

import hashlib
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from core.coordination.paced_store import PacedStore
from core.errors import TagInvalidError
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.ports.blob_storage import ObjectStat
from core.store import layout
from core.store.link_keys import digest_at, parse_blob_key
from core.store.links import Links


def _ignore(_key: str) -> None:
    """Do nothing."""


class FoundLink(NamedTuple):
    """A link found in a listing."""

    key: str
    digest: Digest
    """The digest in the key. If the content may differ, callers read the link."""
    modified_at: datetime


@dataclass(slots=True)
class ManifestListing:
    """The contents of `_manifests` in a repository."""

    revisions: dict[Digest, FoundLink] = field(default_factory=dict)
    signatures: dict[Digest, list[FoundLink]] = field(default_factory=dict)
    """Links of schema 1 signatures, by manifest."""
    tags: dict[str, Digest | None] = field(default_factory=dict)
    """The digest each tag points to; None if the tag's link is missing or holds no digest."""
    history: list[FoundLink] = field(default_factory=list)
    """Links to the manifests that tags have pointed to."""
    unreadable: list[str] = field(default_factory=list)
    """Keys of links among revisions and tags that cannot be parsed."""

    @property
    def is_doubtful(self) -> bool:
        """Whether a tag may need any manifest of the repository, because a link or tag cannot be read."""
        return bool(self.unreadable) or None in self.tags.values()


class Lister:
    """Lists repositories within a budget. Stateless, safe for any number of tasks."""

    def __init__(self, store: PacedStore, links: Links) -> None:
        self._store = store
        self._links = links

    async def repositories(self, *, after: str = "") -> AsyncIterator[RepositoryName]:
        """Yield the repositories in ascending order of names, without the paths of `unnamed`."""
        async for path in self._store.repositories(after=after):
            if name := RepositoryName.parse(path):
                yield name

    async def unnamed(self) -> AsyncIterator[str]:
        """Yield the paths that look like repositories but are not valid names (`Team/app`), in ascending order."""
        async for path in self._store.repositories():
            if not RepositoryName.parse(path):
                yield path

    async def layers(
        self, name: RepositoryName, unreadable: Callable[[str], None] = _ignore
    ) -> AsyncIterator[FoundLink]:
        """Yield the links of blobs. Call `unreadable` with the key of each link that cannot be parsed."""
        prefix = layout.layers(name)
        async for key, stat in self._store.walk(prefix):
            if found := _link(prefix, key, stat):
                yield found
            elif key.endswith(layout.LINK):
                unreadable(key)

    async def has_empty_tags(self, name: RepositoryName, tags: Collection[str]) -> bool:
        """Whether any tag's folder holds no link, as after a power cut. `tags` are the tags that have a link."""
        return any([child not in tags and _is_tag(child) async for child in self._store.children(layout.tags(name))])

    async def all_revisions(self) -> AsyncIterator[tuple[RepositoryName, FoundLink]]:
        """Yield the manifest links of all repositories, in any order."""
        async for key, stat in self._store.walk_repositories(layout.MANIFESTS_DIRECTORY):
            path, _, rest = key.partition(f"/{layout.REVISIONS_DIRECTORY}/")
            if rest and (found := _found(path, key, rest, stat)):
                yield found

    async def all_layers(self) -> AsyncIterator[tuple[RepositoryName, FoundLink]]:
        """Yield the blob links of all repositories, in any order."""
        async for key, stat in self._store.walk_repositories(layout.LAYERS_DIRECTORY):
            path, _, rest = key.partition(f"/{layout.LAYERS_DIRECTORY}/")
            if found := _found(path, key, rest, stat):
                yield found

    async def blobs(self) -> AsyncIterator[tuple[Digest, ObjectStat]]:
        """Yield the digest and the state of all stored blobs and manifests; skip other objects."""
        async for key, stat in self._store.walk(layout.BLOBS):
            if (digest := parse_blob_key(key)) is not None:
                yield digest, stat

    async def referrers(self, name: RepositoryName) -> Mapping[Digest, Mapping[Digest, FoundLink]]:
        """Return the links of referrers, by subject and referrer."""
        prefix = layout.all_referrers(name)
        found: dict[Digest, dict[Digest, FoundLink]] = {}
        async for key, stat in self._store.walk(prefix):
            parts = key.removeprefix(f"{prefix}/").split("/")
            subject = digest_at(parts[0], parts[1]) if len(parts) == 5 else None  # noqa: PLR2004
            referrer = digest_at(parts[2], parts[3]) if subject else None
            if subject and referrer:
                found.setdefault(subject, {})[referrer] = FoundLink(key, referrer, stat.modified_at)
        return found

    async def manifests(self, name: RepositoryName) -> ManifestListing:
        """Return the manifests and tags of a repository.

        Costs one listing, plus one read for each tag whose digest cannot be inferred from a checksum in the listing.
        """
        listing = ManifestListing()
        revisions, tags = f"{layout.revisions(name)}/", f"{layout.tags(name)}/"
        current: dict[str, ObjectStat] = {}
        async for key, stat in self._store.walk(layout.manifests(name)):
            if key.startswith(revisions):
                _note_revision(listing, revisions, key, stat)
            elif key.startswith(tags):
                _note_tag(listing, current, tags, key, stat)
        by_md5 = {_md5(digest): digest for digest in listing.revisions}
        for found in listing.history:
            listing.tags.setdefault(found.key.removeprefix(tags).partition("/")[0], None)
        for tag, stat in current.items():
            known = by_md5.get(stat.md5) if stat.md5 else None
            listing.tags[tag] = known or await self.target(f"{tags}{tag}{layout.CURRENT_LINK}")
        return listing

    async def target(self, link: str) -> Digest | None:
        """Return the digest a link holds, or None if there is none."""
        await self._store.budget.take()
        return await self._links.read(link)


def _found(path: str, key: str, rest: str, stat: ObjectStat) -> tuple[RepositoryName, FoundLink] | None:
    """Parse the key of a link. `rest` is the part `<alg>/<hex>/link`, `path` the repository's path."""
    parts = rest.split("/")
    digest = digest_at(parts[0], parts[1]) if len(parts) == 3 and parts[2] == "link" else None  # noqa: PLR2004
    name = RepositoryName.parse(path.removeprefix(f"{layout.REPOSITORIES}/"))
    return (name, FoundLink(key, digest, stat.modified_at)) if name and digest else None


def _note_revision(listing: ManifestListing, prefix: str, key: str, stat: ObjectStat) -> None:
    parts = key.removeprefix(prefix).split("/")
    digest = digest_at(parts[0], parts[1]) if len(parts) > 2 else None  # noqa: PLR2004
    if digest and len(parts) == 3 and parts[2] == "link":  # noqa: PLR2004
        listing.revisions[digest] = FoundLink(key, digest, stat.modified_at)
    elif digest and parts[2] == "signatures" and parts[-1] == "link" and (signature := digest_at(*parts[3:5])):
        listing.signatures.setdefault(digest, []).append(FoundLink(key, signature, stat.modified_at))
    elif key.endswith(layout.LINK):
        listing.unreadable.append(key)


def _note_tag(
    listing: ManifestListing, current: dict[str, ObjectStat], prefix: str, key: str, stat: ObjectStat
) -> None:
    tag, _, rest = key.removeprefix(prefix).partition("/")
    parts = rest.split("/")
    digest = digest_at(parts[1], parts[2]) if len(parts) == 4 and parts[0] == "index" else None  # noqa: PLR2004
    is_current = f"/{rest}" == layout.CURRENT_LINK
    if is_current:
        current[tag] = stat
    elif digest and parts[3] == "link":
        listing.history.append(FoundLink(key, digest, stat.modified_at))
    if key.endswith(layout.LINK) and not (_is_tag(tag) and (digest or is_current)):
        listing.unreadable.append(key)


def _link(prefix: str, key: str, stat: ObjectStat) -> FoundLink | None:
    parts = key[len(prefix) + 1 :].split("/")
    digest = digest_at(parts[0], parts[1]) if len(parts) == 3 and parts[2] == "link" else None  # noqa: PLR2004
    return FoundLink(key, digest, stat.modified_at) if digest else None


def _is_tag(text: str) -> bool:
    try:
        Tag(text)
    except TagInvalidError:
        return False
    return True


def _md5(digest: Digest) -> str:
    return hashlib.md5(digest.encode("ascii"), usedforsecurity=False).hexdigest()
