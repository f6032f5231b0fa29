"""What the key of a link says: the other direction of `core.layout`."""

from dataclasses import dataclass
from itertools import pairwise

from core import layout
from core.digest import Digest
from core.errors import DigestInvalidError, NameInvalidError, TagInvalidError
from core.names import RepositoryName, Tag


@dataclass(frozen=True, slots=True)
class TagKey:
    """The link that makes a tag."""

    name: RepositoryName
    tag: Tag


@dataclass(frozen=True, slots=True)
class RevisionKey:
    """The link that makes a repository hold a manifest."""

    name: RepositoryName
    digest: Digest


@dataclass(frozen=True, slots=True)
class LayerKey:
    """The link by which a repository may read a blob."""

    name: RepositoryName
    digest: Digest


@dataclass(frozen=True, slots=True)
class ReferrerKey:
    """The link from a subject to a manifest that names it."""

    name: RepositoryName
    subject: Digest
    digest: Digest


LinkKey = TagKey | RevisionKey | LayerKey | ReferrerKey


def parse_link_key(key: str) -> LinkKey | None:
    """Read a key, or return None for any other: history, signatures, uploads, and what no registry wrote."""
    # No component of a name begins with `_`.
    path, mark, rest = key.removeprefix(f"{layout.REPOSITORIES}/").partition("/_")
    if not mark:
        return None
    try:
        return _parse(path, rest.split("/"))
    except (NameInvalidError, TagInvalidError, DigestInvalidError):
        return None


def digests_in(key: str) -> list[Digest]:
    """Return the digests that a key, or a part of one, spells: of a manifest, then of its signature."""
    found = []
    for algorithm, encoded in pairwise(key.split("/")):
        try:
            found.append(Digest(f"{algorithm}:{encoded}"))
        except DigestInvalidError:
            continue
    return found


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
