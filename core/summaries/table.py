"""The table of all repositories with their summaries: one object, with the changes since it was written applied.

A background job writes it (`core.summaries.folding`). The job leaves each record of a change for two minutes, so that a
process that read the table less than a minute ago sees every change either in the table or in the list of records.
"""

import json
import logging
import zlib
from collections.abc import Awaitable, Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from core.concurrency import map_bounded
from core.content_source import Offload
from core.errors import NameInvalidError, ObjectNotFoundError, ObjectTooLargeError
from core.json_text import load_json
from core.model.names import RepositoryName
from core.ports.blob_storage import BlobStorage
from core.store import summary_keys
from core.summaries.changes import ChangeLog
from core.summaries.sharing import SharedLooks
from core.summaries.stored import STORED_BYTES_MAX, SummariesUnreadableError, unpack

_logger = logging.getLogger(__name__)

_VERSION: Final = b"1"
_TEXT_BYTES_MAX: Final = 64 * 1024 * 1024
RELOAD_SECONDS: Final = 60.0
"""Maximum age of the table in memory."""
_REFRESHED_MAX: Final = 100
"""Maximum number of changed repositories that one call looks at; the next call continues."""
_BUILT_MAX: Final = 50
"""Maximum number of manifests that are read for one of them."""
_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositorySummary:
    """The properties of a repository that lists show."""

    name: RepositoryName
    tags: int
    size: int
    """Size in bytes of the distinct content of all tags."""
    pushed_at: datetime | None
    """Time of the last push; None without tags."""
    is_complete: bool = True
    """Whether all tags are included in `size`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryTable:
    """The summaries of all repositories, as far as they are known."""

    repositories: Mapping[RepositoryName, RepositorySummary]
    """In ascending order of the names. Repositories without tags may be missing."""
    is_complete: bool
    """Whether all repositories with tags are included, with all recorded changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTable:
    """The table as it is stored."""

    rows: Mapping[RepositoryName, RepositorySummary] = field(default_factory=dict)
    built_at: datetime | None = None
    """When the last pass over all repositories ended, by the store's clock; None before the first one."""
    after: str = ""
    """The last repository of the pass in progress; empty between two passes."""


def encode_table(table: StoredTable, *, size_max: int = _TEXT_BYTES_MAX) -> bytes:
    """Return the stored form of a table; the last repositories are left out if it would become too large."""
    header = {"builtAt": table.built_at.isoformat() if table.built_at else None, "after": table.after}
    lines = [json.dumps(header)]
    size = len(lines[0])
    for name, row in sorted(table.rows.items()):
        pushed_at = row.pushed_at.isoformat() if row.pushed_at else None
        line = json.dumps([name, row.tags, row.size, pushed_at, row.is_complete], separators=(",", ":"))
        size += len(line) + 1
        if size > size_max:
            _logger.warning("table of repositories is full: some repositories are not listed with their size")
            break
        lines.append(line)
    return _VERSION + b"\n" + zlib.compress("\n".join(lines).encode())


def decode_table(content: bytes, *, size_max: int = _TEXT_BYTES_MAX) -> StoredTable:
    """Return the table with this stored form. Uses bounded memory whatever the content.

    Raises:
        SummariesUnreadableError: another release wrote it, or it is damaged.
    """
    try:
        header, *lines = unpack(content, _VERSION, size_max).decode().split("\n")
        properties = load_json(header)
        rows = [_row(*load_json(line)) for line in lines]
        built_at = properties["builtAt"]
        return StoredTable(
            rows={row.name: row for row in rows},
            built_at=datetime.fromisoformat(built_at) if built_at else None,
            after=str(properties["after"]),
        )
    except (ValueError, TypeError, KeyError, NameInvalidError) as error:
        raise SummariesUnreadableError(f"{type(error).__name__}: {error}") from error


def _row(name: str, tags: int, size: int, pushed_at: str | None, is_complete: object) -> RepositorySummary:
    return RepositorySummary(
        name=RepositoryName(name),
        tags=int(tags),
        size=int(size),
        pushed_at=datetime.fromisoformat(pushed_at) if pushed_at else None,
        is_complete=bool(is_complete),
    )


async def read_table(storage: BlobStorage, *, offload: Offload) -> StoredTable:
    """Return the stored table; an empty one if there is none, or none that can be read. One request."""
    try:
        content = await storage.read(summary_keys.REPOSITORY_TABLE, limit=STORED_BYTES_MAX)
        table: StoredTable = await offload(decode_table, content)
    except ObjectNotFoundError:
        return StoredTable()
    except (ObjectTooLargeError, SummariesUnreadableError) as error:
        _logger.warning("table of repositories ignored, it will be built again: %s", error)
        return StoredTable()
    return table


async def write_table(storage: BlobStorage, table: StoredTable, *, offload: Offload) -> None:
    """Replace the stored table. One request."""
    await storage.write(summary_keys.REPOSITORY_TABLE, await offload(encode_table, table), durable=False)


@dataclass(frozen=True, slots=True)
class _Changed:
    """A repository that has records."""

    records: AbstractSet[str]
    """The records that are considered."""
    summary: RepositorySummary | None
    """None if the repository does not exist."""


class RepositoryTables:
    """Reads the table, and applies the changes that it does not contain; one per process.

    Args:
        storage: the store.
        log: the changes that are not folded yet.
        summarize: returns the summary of a repository, for which it reads a limited number of manifests, or None if the
            repository does not exist.
        clock: monotonic seconds.
        offload: runs a function in a thread.
    """

    def __init__(
        self,
        storage: BlobStorage,
        log: ChangeLog,
        summarize: Callable[[RepositoryName, int], Awaitable[RepositorySummary | None]],
        *,
        clock: Callable[[], float],
        offload: Offload,
    ) -> None:
        self._storage = storage
        self._log = log
        self._summarize = summarize
        self._clock = clock
        self._offload = offload
        self._stored = StoredTable()
        self._read_at = float("-inf")
        self._changed: dict[RepositoryName, _Changed] = {}
        """The repositories with records."""
        self._table: RepositoryTable | None = None
        self._looks: SharedLooks[None, RepositoryTable] = SharedLooks()

    async def table(self) -> RepositoryTable:
        """Return the table with all recorded changes; concurrent callers share one look at the store."""
        return await self._looks.run(None, self._look)

    async def _look(self) -> RepositoryTable:
        # Listed before the table is read: a record that is missing here was folded into the table before.
        listing = await self._log.listing()
        found = await self._log.by_repository(listing.records)
        records = {name: names for name, names in found.items() if name is not None}
        are_folded = any(not change.records <= records.get(name, set()) for name, change in self._changed.items())
        if are_folded or self._clock() - self._read_at >= RELOAD_SECONDS:
            read_at = self._clock()
            self._stored = await read_table(self._storage, offload=self._offload)
            self._read_at, self._table = read_at, None
        is_current = await self._apply(records)
        is_complete = self._stored.built_at is not None and listing.is_complete and is_current
        if self._table is None or self._table.is_complete != is_complete:
            self._table = self._merged(is_complete=is_complete)
        return self._table

    async def _apply(self, records: Mapping[RepositoryName, set[str]]) -> bool:
        """Look at the repositories that have a new record; return whether all of them were looked at."""
        seen = self._changed
        due = [name for name, names in records.items() if name not in seen or not names <= seen[name].records]
        some = due[:_REFRESHED_MAX]

        async def summarize(name: RepositoryName) -> RepositorySummary | None:
            return await self._summarize(name, _BUILT_MAX)

        found = await map_bounded(summarize, some, at_once=_AT_ONCE)
        kept = {
            name: _Changed(change.records & records[name], change.summary)
            for name, change in seen.items()
            if name in records
        }
        refreshed = {name: _Changed(records[name], each) for name, each in zip(some, found, strict=True)}
        self._changed = kept | refreshed
        if refreshed or len(kept) < len(seen):
            self._table = None
        return len(some) == len(due)

    def _merged(self, *, is_complete: bool) -> RepositoryTable:
        rows = dict(self._stored.rows)
        for name, change in self._changed.items():
            if change.summary is not None:
                rows[name] = change.summary
            else:
                rows.pop(name, None)
        return RepositoryTable(repositories=dict(sorted(rows.items())), is_complete=is_complete)
