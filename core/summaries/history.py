"""The history of a repository's tags: one object, into which a background job folds the recorded changes.

It outlives tags, manifests and the repository. It is bounded: each tag keeps its newest entries, and in a repository
with too many entries the newest entry of each tag is dropped last.

The object is a version, then compressed lines, one per tag: the tag, the number of its entries, and the entries as
JSON. The entries of a tag are parsed only when they are needed.
"""

import json
import logging
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from core.errors import DigestInvalidError, ObjectNotFoundError, ObjectTooLargeError, TagInvalidError
from core.json_text import load_json
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.model.times import time_text
from core.ports.blob_storage import BlobStorage
from core.store import summary_keys
from core.summaries.changes import Change, ChangeKind

_logger = logging.getLogger(__name__)

_VERSION: Final = b"1"
_TEXT_MAX: Final = 128
"""Maximum number of characters of a user's name and of a media type in an entry."""
_CREATING: Final = (ChangeKind.PUSH, ChangeKind.RESTORE)


class HistoryDamagedError(ValueError):
    """The content is not a history."""


class HistoryVersionError(ValueError):
    """The content is the history of another release of this registry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryLimits:
    """Limits of the history of one repository."""

    per_tag: int = 1_000
    entries: int = 100_000
    size: int = 32 * 1024 * 1024
    """Maximum size in bytes before compression."""

    @property
    def stored_size(self) -> int:
        """Maximum size in bytes of the object; zlib makes incompressible content a little larger."""
        return self.size + self.size // 64 + 1024


LIMITS: Final = HistoryLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One change of a tag."""

    id: str
    """The id of the record; unique within a tag, and later ids sort after earlier ones of the same process."""
    at: datetime
    """UTC-aware, by the clock of the process that made the change."""
    kind: ChangeKind
    digest: Digest | None
    """The manifest that the tag points at since then, or pointed at before its deletion; None if not known."""
    by: str = ""
    media_type: str = ""
    """The media type of the manifest; empty if not known."""
    size: int = 0
    """The size in bytes of the manifest; 0 if not known."""
    is_recorded: bool = True
    """Whether this registry recorded the change; otherwise only a link of the tag shows it."""

    @property
    def time(self) -> str:
        """The time for clients, with microseconds, because it is the key of the order."""
        return time_text(self.at, timespec="microseconds")

    @property
    def order(self) -> tuple[datetime, str]:
        """The place of the entry in the history of its tag, ascending with time."""
        return self.at, self.id

    @property
    def is_creation(self) -> bool:
        """Whether the tag points at the manifest since then."""
        return self.kind in _CREATING


Described = Mapping[Digest, tuple[str, int]]
"""Media type and size of manifests."""


@dataclass(frozen=True, slots=True)
class History:
    """The history of all tags of a repository. Immutable; equal if the entries are equal."""

    lines: Mapping[Tag, bytes] = field(default_factory=dict)
    """The line of each tag as stored."""

    @property
    def tags(self) -> Sequence[Tag]:
        """The tags that have entries."""
        return list(self.lines)

    def of(self, tag: Tag) -> Sequence[HistoryEntry]:
        """Return the entries of a tag, newest first; empty for an unknown tag."""
        return complete(_entries(self.lines.get(tag, b"")))


def complete(entries: Sequence[HistoryEntry], described: Described | None = None) -> Sequence[HistoryEntry]:
    """Return the entries of a tag with all that follows from other entries.

    A deletion without a digest gets the digest that the tag pointed at before. The media type and size of a manifest
    are those of another entry with the same digest, or in `described`.

    Args:
        entries: newest first.
        described: media type and size of manifests.
    """
    known = dict(described or {})
    known |= {entry.digest: _description(entry) for entry in entries if entry.digest and entry.media_type}
    completed: list[HistoryEntry] = []
    target: Digest | None = None
    for entry in reversed(entries):
        digest = entry.digest or target
        target = digest if entry.is_creation else None
        media_type, size = (known.get(digest) if digest else None) or _description(entry)
        completed.append(replace(entry, digest=digest, media_type=media_type, size=size))
    return completed[::-1]


def merge(
    history: History,
    changes: Iterable[tuple[str, Change]],
    *,
    described: Described | None = None,
    limits: HistoryLimits = LIMITS,
) -> History:
    """Return the history with changes added. Idempotent by the ids; the order of the changes does not matter.

    Returns `history` itself if nothing is new.

    Args:
        history: the history of the repository to which all changes belong.
        changes: ids of records with their changes; several changes of one record may share its id.
        described: media type and size of manifests, kept with the entries because they outlive the manifests.
        limits: the limits of the result.
    """
    new: dict[Tag, list[HistoryEntry]] = {}
    for change_id, change in changes:
        if change.tag is not None and change.kind is not ChangeKind.OTHER:
            new.setdefault(change.tag, []).append(_entry(change_id, change, described or {}))
    lines = dict(history.lines)
    for tag, entries in new.items():
        old = _entries(lines.get(tag, b""))
        merged = {entry.id: entry for entry in [*entries, *old]}
        if len(merged) > len(old):
            newest = sorted(merged.values(), key=lambda entry: entry.order, reverse=True)[: limits.per_tag]
            lines[tag] = _line(tag, newest)
    return history if lines == history.lines else History(_bounded(lines, limits))


def encode(history: History) -> bytes:
    """Return the stored form of a history."""
    return _VERSION + b"\n" + zlib.compress(b"\n".join(history.lines.values()))


def decode(content: bytes, *, limits: HistoryLimits = LIMITS) -> History:
    """Return the history with this stored form. Uses bounded memory whatever the content.

    Raises:
        HistoryVersionError: another release wrote it.
        HistoryDamagedError: the content is not a history.
    """
    version, _, compressed = content.partition(b"\n")
    if version != _VERSION:
        if version.isdigit():
            raise HistoryVersionError(f"version {version[:16].decode()}")
        raise HistoryDamagedError("no version")
    reader = zlib.decompressobj()
    try:
        text = reader.decompress(compressed, limits.size + 1)
    except zlib.error as error:
        raise HistoryDamagedError(str(error)) from error
    if len(text) > limits.size or not reader.eof:
        raise HistoryDamagedError("too large, or incomplete")
    try:
        return History({Tag(line.partition(b" ")[0].decode("ascii")): line for line in text.split(b"\n") if line})
    except (TagInvalidError, UnicodeDecodeError) as error:
        raise HistoryDamagedError("not a tag") from error


async def read_history(storage: BlobStorage, name: RepositoryName) -> History | None:
    """Return the folded history of a repository. One storage request.

    Empty if there is none, or if it is damaged, which is logged; the next fold replaces a damaged one. None if another
    release wrote it: it must not be replaced.
    """
    key = summary_keys.tag_history(name)
    try:
        return decode(await storage.read(key, limit=LIMITS.stored_size))
    except ObjectNotFoundError:
        return History()
    except HistoryVersionError as error:
        _logger.warning("tag history ignored: another release wrote it (%s)", error, extra={"key": key})
        return None
    except (HistoryDamagedError, ObjectTooLargeError) as error:
        _logger.warning("tag history ignored: it is damaged (%s)", error, extra={"key": key})
        return History()


def _description(entry: HistoryEntry) -> tuple[str, int]:
    return entry.media_type, entry.size


def _entry(change_id: str, change: Change, described: Described) -> HistoryEntry:
    media_type, size = described.get(change.digest, ("", 0)) if change.digest else ("", 0)
    return HistoryEntry(
        id=change_id,
        at=change.at,
        kind=change.kind,
        digest=change.digest,
        by=change.by[:_TEXT_MAX],
        media_type=media_type[:_TEXT_MAX],
        size=size,
    )


def _line(tag: Tag, entries: Sequence[HistoryEntry]) -> bytes:
    rows = [
        [entry.id, entry.at.isoformat(), entry.kind, entry.digest, entry.by, entry.media_type, entry.size]
        for entry in entries
    ]
    return f"{tag} {len(rows)} {json.dumps(rows, separators=(',', ':'))}".encode("ascii")


def _count(line: bytes) -> int:
    count = line.split(b" ", 2)[1:2]
    return int(count[0][:9]) if count and count[0].isdigit() else 0


def _entries(line: bytes) -> list[HistoryEntry]:
    """Return the entries of a line, newest first; none if it is empty or damaged."""
    try:
        rows = load_json((line.split(b" ", 2)[2:] or [b"[]"])[0])
        return [_parse(*row) for row in rows]
    except (ValueError, TypeError, DigestInvalidError):
        _logger.warning("entries of a tag's history ignored: they are damaged", extra={"line": str(line[:200])})
        return []


def _parse(  # noqa: PLR0917 - the members of a row
    change_id: object, at: str, kind: str, digest: str | None, by: object, media_type: object, size: int
) -> HistoryEntry:
    moment = datetime.fromisoformat(at)
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return HistoryEntry(
        id=str(change_id),
        at=moment,
        kind=ChangeKind(kind),
        digest=Digest(digest) if digest is not None else None,
        by=str(by),
        media_type=str(media_type),
        size=int(size),
    )


def _bounded(lines: Mapping[Tag, bytes], limits: HistoryLimits) -> Mapping[Tag, bytes]:
    """Drop entries until the lines keep the limits; a tenth more, so that this rarely happens."""
    while True:
        total = sum(map(_count, lines.values()))
        size = sum(len(line) + 1 for line in lines.values())
        if total <= limits.entries and size <= limits.size:
            return lines
        kept = min(limits.entries, total * limits.size // size, total) * 9 // 10
        lines = dict(_newest(lines, kept))


def _newest(lines: Mapping[Tag, bytes], kept: int) -> Iterator[tuple[Tag, bytes]]:
    """Yield lines with that many entries: of each tag its newest, then the second newest of each, and so on."""
    entries = {tag: _entries(line) for tag, line in lines.items()}
    ranked = sorted(
        (rank, -entry.at.timestamp(), tag) for tag, found in entries.items() for rank, entry in enumerate(found)
    )
    counts: dict[Tag, int] = {}
    for _, _, tag in ranked[:kept]:
        counts[tag] = counts.get(tag, 0) + 1
    for tag, count in counts.items():
        yield tag, _line(tag, entries[tag][:count])
