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
from core.store.link_keys import LayerKey, ReferrerKey, RevisionKey, digests_in, parse_blob_key, parse_link_key
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
        async for key, stat in self._store.walk(layout.layers(name)):
            if isinstance(link := parse_link_key(key), LayerKey):
                yield FoundLink(key, link.digest, stat.modified_at)
            elif key.endswith(layout.LINK):
                unreadable(key)

    async def has_empty_tags(self, name: RepositoryName, tags: Collection[str]) -> bool:
        """Whether any tag's folder holds no link, as after a power cut. `tags` are the tags that have a link."""
        return any([child not in tags and _is_tag(child) async for child in self._store.children(layout.tags(name))])

    async def all_revisions(self) -> AsyncIterator[tuple[RepositoryName, FoundLink]]:
        """Yield the manifest links of all repositories, in any order."""
        async for key, stat in self._store.walk_repositories(layout.MANIFESTS_DIRECTORY):
            if isinstance(link := parse_link_key(key), RevisionKey):
                yield link.name, FoundLink(key, link.digest, stat.modified_at)

    async def all_layers(self) -> AsyncIterator[tuple[RepositoryName, FoundLink]]:
        """Yield the blob links of all repositories, in any order."""
        async for key, stat in self._store.walk_repositories(layout.LAYERS_DIRECTORY):
            if isinstance(link := parse_link_key(key), LayerKey):
                yield link.name, FoundLink(key, link.digest, stat.modified_at)

    async def blobs(self) -> AsyncIterator[tuple[Digest, ObjectStat]]:
        """Yield the digest and the state of all stored blobs and manifests; skip other objects."""
        async for key, stat in self._store.walk(layout.BLOBS):
            if (digest := parse_blob_key(key)) is not None:
                yield digest, stat

    async def referrers(self, name: RepositoryName) -> Mapping[Digest, Mapping[Digest, FoundLink]]:
        """Return the links of referrers, by subject and referrer."""
        found: dict[Digest, dict[Digest, FoundLink]] = {}
        async for key, stat in self._store.walk(layout.all_referrers(name)):
            if isinstance(link := parse_link_key(key), ReferrerKey):
                found.setdefault(link.subject, {})[link.digest] = FoundLink(key, link.digest, stat.modified_at)
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


def _note_revision(listing: ManifestListing, prefix: str, key: str, stat: ObjectStat) -> None:
    rest = key.removeprefix(prefix)
    match digests_in(rest), rest.split("/")[2:]:
        case [digest], ["link"]:
            listing.revisions[digest] = FoundLink(key, digest, stat.modified_at)
        case [digest, signature], ["signatures", _, _, "link"]:
            listing.signatures.setdefault(digest, []).append(FoundLink(key, signature, stat.modified_at))
        case _:
            if key.endswith(layout.LINK):
                listing.unreadable.append(key)


def _note_tag(
    listing: ManifestListing, current: dict[str, ObjectStat], prefix: str, key: str, stat: ObjectStat
) -> None:
    tag, _, rest = key.removeprefix(prefix).partition("/")
    is_known = True
    match digests_in(rest), rest.split("/"):
        case [], ["current", "link"]:
            current[tag] = stat
        case [digest], ["index", _, _, "link"]:
            listing.history.append(FoundLink(key, digest, stat.modified_at))
        case _:
            is_known = False
    if key.endswith(layout.LINK) and not (_is_tag(tag) and is_known):
        listing.unreadable.append(key)


def _is_tag(text: str) -> bool:
    try:
        Tag(text)
    except TagInvalidError:
        return False
    return True


def _md5(digest: Digest) -> str:
    return hashlib.md5(digest.encode("ascii"), usedforsecurity=False).hexdigest()
