"""Trash entries, which record a removal: the removed items, the time, the user and the reason; with their JSON form."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from itertools import chain, islice
from typing import Final, TypeVar

from core.errors import DigestInvalidError, NameInvalidError, StorageCorruptError
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.store import layout
from core.store.links import RemovedLink

T = TypeVar("T")

PART_ITEMS_MAX: Final = 4_000
"""Maximum number of links and digests in one part: about a megabyte, far below the limit for reading an object."""
PART_BYTES_MAX: Final = 4 * 1024 * 1024
_WHEN: Final = "%Y%m%dT%H%M%S.%fZ"
_YEAR_MIN: Final = 2000
_MARK: Final = re.compile(r"-(r[0-9a-f]{10})$")


class TrashKind(StrEnum):
    """The kind of removal; part of the entry's name and of the output of `registry trash list`."""

    TAG = "tag"
    MANIFEST = "manifest"
    BLOB_LINK = "blob-link"
    REPOSITORY = "repository"
    COLLECTION = "collection"
    QUARANTINE = "quarantine"
    EVICTION = "eviction"
    """Content of the pull-through cache. Its data is in the trash only until the removal is complete."""


_KINDS_OF_A_REPOSITORY: Final = frozenset(
    {TrashKind.TAG, TrashKind.MANIFEST, TrashKind.BLOB_LINK, TrashKind.REPOSITORY}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrashEntry:
    """A removal, without the list of removed items."""

    id: str
    """`<yyyymmddThhmmss.ffffffZ>-<kind>-<id>`; unique, and ascending by time as far as clocks agree.

    If there is a repository, the id ends with a hash of it, so that a search reads few entries of others.
    """
    kind: TrashKind
    when: datetime
    """By the clock of the process that removed the items; for information. Decisions use the store's time."""
    by: str = ""
    """The requesting user; empty if unknown."""
    repository: RepositoryName | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrashPart:
    """One part of an entry, stored as one object."""

    entry: TrashEntry
    links: Sequence[RemovedLink] = ()
    blobs: Sequence[Digest] = ()
    """Blobs whose data was moved to the trash, or to quarantine if that is the entry's kind."""
    blob_bytes: int = 0
    """Total size of those blobs in bytes, as far as known."""


def entry_id(when: datetime, kind: TrashKind, unique: str, repository: RepositoryName | None = None) -> str:
    """Return the name of an entry."""
    mark = "" if repository is None else f"-{_mark_of(repository)}"
    return f"{when.strftime(_WHEN)}-{kind.value}-{unique}{mark}"


def may_concern(name: str, repository: RepositoryName) -> bool:
    """Whether the entry with this name can be one of the repository. Entries of older versions have no mark."""
    found = _MARK.search(name)
    return kind_of(name) in _KINDS_OF_A_REPOSITORY and (found is None or found[1] == _mark_of(repository))


def _mark_of(repository: RepositoryName) -> str:
    # No other part of a name begins with `r`: ids are hexadecimal.
    return f"r{sha256(repository.encode()).hexdigest()[:10]}"


def kind_of(name: str) -> TrashKind | None:
    """Return the kind in the name of an entry, or None if the name is not that of an entry."""
    _, _, rest = name.partition("-")
    return next((kind for kind in TrashKind if rest.startswith(f"{kind.value}-")), None)


def name_at(when: datetime) -> str:
    """Return a text that sorts after the names of the entries before `when`, and before those of later ones."""
    return when.strftime(_WHEN)


def time_in(name: str) -> datetime | None:
    """Return the time in the name of an entry, or None if the name is not that of an entry."""
    try:
        when = datetime.strptime(name.partition("-")[0], _WHEN).replace(tzinfo=UTC)
    except ValueError:
        return None
    return when if kind_of(name) is not None and "/" not in name and when.year >= _YEAR_MIN else None


def split(
    entry: TrashEntry, links: Iterable[RemovedLink] = (), blobs: Iterable[Digest] = (), blob_bytes: int = 0
) -> Iterator[TrashPart]:
    """Split an entry into parts of bounded size: at least one, the first with the whole `blob_bytes`."""
    parts = chain(
        (TrashPart(entry=entry, links=batch) for batch in _batches(links)),
        (TrashPart(entry=entry, blobs=batch) for batch in _batches(blobs)),
    )
    yield replace(next(parts, TrashPart(entry=entry)), blob_bytes=blob_bytes)
    yield from parts


def _batches(items: Iterable[T]) -> Iterator[tuple[T, ...]]:
    remaining = iter(items)
    while batch := tuple(islice(remaining, PART_ITEMS_MAX)):
        yield batch


def encode(part: TrashPart) -> bytes:
    """Serialise a part as JSON; keys omit the common root."""
    entry = part.entry
    document = {
        "id": entry.id,
        "kind": entry.kind.value,
        "when": entry.when.isoformat(),
        "by": entry.by,
        "repository": entry.repository or "",
        "reason": entry.reason,
        "links": [[link.key.removeprefix(f"{layout.ROOT}/"), link.target] for link in part.links],
        "blobs": part.blobs,
        "blobBytes": part.blob_bytes,
    }
    return json.dumps(document, separators=(",", ":")).encode()


def decode(content: bytes) -> TrashPart:
    """Parse a part.

    Raises:
        StorageCorruptError: the content is not a part of an entry.
    """
    try:
        document = json.loads(content)
        entry = TrashEntry(
            id=str(document["id"]),
            kind=TrashKind(document["kind"]),
            when=datetime.fromisoformat(document["when"]),
            by=str(document["by"]),
            repository=RepositoryName(document["repository"]) if document["repository"] else None,
            reason=str(document["reason"]),
        )
        return TrashPart(
            entry=entry,
            links=[RemovedLink(f"{layout.ROOT}/{key}", Digest(target)) for key, target in document["links"]],
            blobs=[Digest(digest) for digest in document["blobs"]],
            blob_bytes=int(document["blobBytes"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, DigestInvalidError, NameInvalidError) as error:
        raise StorageCorruptError(f"not a trash entry: {type(error).__name__}") from error
