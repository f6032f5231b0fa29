"""Parsing of keys, the inverse of `core.store.layout`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from core.errors import DigestInvalidError, NameInvalidError, TagInvalidError
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.store import layout


@dataclass(frozen=True, slots=True)
class TagKey:
    """The key of the link that makes a tag exist."""

    name: RepositoryName
    tag: Tag


@dataclass(frozen=True, slots=True)
class RevisionKey:
    """The key of the link that makes a repository hold a manifest."""

    name: RepositoryName
    digest: Digest


@dataclass(frozen=True, slots=True)
class LayerKey:
    """The key of the link that lets a repository read a blob."""

    name: RepositoryName
    digest: Digest


@dataclass(frozen=True, slots=True)
class ReferrerKey:
    """The key of the link from a subject to one of its referrers."""

    name: RepositoryName
    subject: Digest
    digest: Digest


LinkKey = TagKey | RevisionKey | LayerKey | ReferrerKey


def parse_link_key(key: str) -> LinkKey | None:
    """Parse a link key. Return None for any other key: history, signatures, uploads, and foreign objects."""
    # No component of a name begins with `_`.
    path, mark, rest = key.removeprefix(f"{layout.REPOSITORIES}/").partition("/_")
    if not mark:
        return None
    try:
        return _parse(path, rest.split("/"))
    except (NameInvalidError, TagInvalidError, DigestInvalidError):
        return None


def repository_of(key: str) -> RepositoryName | None:
    """Return the repository that an object belongs to, or None if its key is not within a repository."""
    path, mark, _ = key.removeprefix(f"{layout.REPOSITORIES}/").partition("/_")
    return RepositoryName.parse(path) if mark else None


def digests_in(key: str) -> list[Digest]:
    """Return the digests in a key or part of a key, in order: that of a manifest, then that of its signature."""
    return [digest for pair in pairwise(key.split("/")) if (digest := digest_at(*pair)) is not None]


def digest_at(algorithm: str, encoded: str) -> Digest | None:
    """Return the digest in two successive parts of a key, or None."""
    try:
        return Digest(f"{algorithm}:{encoded}")
    except DigestInvalidError:
        return None


def keyed(links: Mapping[str, Digest]) -> Iterator[tuple[str, LinkKey]]:
    """Yield each key of a link with its parsed form; leave out other keys."""
    for link in links:
        if (key := parse_link_key(link)) is not None:
            yield link, key


def parsed(links: Mapping[str, Digest]) -> Iterator[tuple[LinkKey, Digest]]:
    """Yield the parsed key and the target of each link; leave out other keys."""
    for link, key in keyed(links):
        yield key, links[link]


def parse_blob_key(key: str) -> Digest | None:
    """Return the digest whose data has this key, or None if the object is not a blob."""
    match key.removeprefix(f"{layout.BLOBS}/").split("/"):
        case [algorithm, _, encoded, "data"]:
            digest = digest_at(algorithm, encoded)
            return digest if digest is not None and layout.blob_data(digest) == key else None
        case _:
            return None


def _parse(path: str, parts: list[str]) -> LinkKey | None:
    match parts:
        case ["manifests", "tags", tag, "current", "link"]:
            return TagKey(RepositoryName(path), Tag(tag))
        case ["manifests", "revisions", algorithm, encoded, "link"]:
            return RevisionKey(RepositoryName(path), Digest(f"{algorithm}:{encoded}"))
        case ["layers", algorithm, encoded, "link"]:
            return LayerKey(RepositoryName(path), Digest(f"{algorithm}:{encoded}"))
        case ["referrers", of, subject, algorithm, encoded, "link"]:
            return ReferrerKey(RepositoryName(path), Digest(f"{of}:{subject}"), Digest(f"{algorithm}:{encoded}"))
        case _:
            return None
