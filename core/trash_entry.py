"""Entries of the trash: what was removed together, when, by whom and why, in the words of its JSON."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from itertools import chain, islice
from typing import Final, TypeVar

from core import layout
from core.digest import Digest
from core.errors import DigestInvalidError, NameInvalidError, StorageCorruptError
from core.names import RepositoryName

T = TypeVar("T")

PART_ITEMS_MAX: Final = 4_000
"""How many links and digests one part names: about a megabyte, far below what a store reads back in one piece."""
PART_BYTES_MAX: Final = 4 * 1024 * 1024
_WHEN: Final = "%Y%m%dT%H%M%S.%fZ"


class TrashKind(StrEnum):
    """What was done; a word of the entry's name and of `registry trash list`."""

    TAG = "tag"
    MANIFEST = "manifest"
    BLOB_LINK = "blob-link"
    REPOSITORY = "repository"
    COLLECTION = "collection"
    QUARANTINE = "quarantine"


@dataclass(frozen=True, slots=True)
class RemovedLink:
    """A link that was removed: its key, and the digest that it held."""

    key: str
    target: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class TrashEntry:
    """What is known of a removal without the list of what went."""

    id: str
    """`<yyyymmddThhmmss.ffffffZ>-<kind>-<id>`, unique; ascending by time as far as clocks agree."""
    kind: TrashKind
    when: datetime
    """By the clock of who removed it: for people. What decides is the store's time."""
    by: str = ""
    """Who asked for it; empty for nobody in particular."""
    repository: RepositoryName | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrashPart:
    """One object of an entry."""

    entry: TrashEntry
    links: Sequence[RemovedLink] = ()
    blobs: Sequence[Digest] = ()
    """Whose data was moved to the trash (or to quarantine, by the entry's kind)."""
    blob_bytes: int = 0
    """How many bytes those are together, as far as it was known."""


def entry_id(when: datetime, kind: TrashKind, unique: str) -> str:
    """Return the name of an entry."""
    return f"{when.strftime(_WHEN)}-{kind.value}-{unique}"


def kind_of(name: str) -> TrashKind | None:
    """Return what an entry's name says of its kind, or None for a name that is not one."""
    _, _, rest = name.partition("-")
    return next((kind for kind in TrashKind if rest.startswith(f"{kind.value}-")), None)


def split(
    entry: TrashEntry, links: Iterable[RemovedLink] = (), blobs: Iterable[Digest] = (), blob_bytes: int = 0
) -> Iterator[TrashPart]:
    """Yield parts of a bounded size that together hold all of it: at least one, the first with all of `blob_bytes`."""
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
    """Write a part as JSON; keys lose the root that all have in common."""
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
    """Read a part.

    Raises:
        StorageCorruptError: it is not one.
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
        raise StorageCorruptError(f"not an entry of the trash: {type(error).__name__}") from error
