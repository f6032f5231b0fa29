"""Folding: the recorded changes move into the history of their repositories, and the stored summaries follow them.

One of all replicas folds. A record is removed last, and changes are merged by the ids of their records, so a run that
is killed at any point is repeated by the next one without loss and without duplicates. All else that a run writes is a
cache.

A record stays for two minutes after it was written. All processes list the records more often than that when they are
asked, so none of them misses a change.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from core.concurrency import closing, map_bounded
from core.content_source import Offload
from core.model.names import RepositoryName
from core.ports.blob_storage import BlobStorage
from core.retention.pulls import PullHistory
from core.store import layout, summary_keys
from core.store.repositories import repository_paths
from core.summaries.changes import Change, ChangeLog, ChangeRecord, parse_record
from core.summaries.hints import RepositoryHint
from core.summaries.history import encode, merge, read_history
from core.summaries.service import SummaryService
from core.summaries.shards import update_shards
from core.summaries.table import RepositorySummary, StoredTable, read_table, write_table

RECORD_AGE: Final = timedelta(minutes=2)
"""A record younger than this is left for all processes to see."""
RECORDS_AT_ONCE: Final = 2_000
"""Maximum number of records that are folded before they are removed."""
PASS_INTERVAL: Final = timedelta(days=1)
"""Time between two passes over all repositories, which find the changes without a record."""
REPOSITORIES_PER_RUN: Final = 300
"""Maximum number of repositories that one run looks at in such a pass."""
HISTORY_KEPT: Final = timedelta(days=365)
"""Time after the last change of a deleted repository until its history is removed."""
_BUILT_MAX: Final = 2_000
_AT_ONCE: Final = 4
_MERGE_INTERVAL: Final = timedelta(hours=1)
PULLS_KEPT: Final = timedelta(days=3 * 366)
"""Pulls older than this are dropped, unless a retention rule depends on them."""


@dataclass(slots=True)
class FoldCounts:
    """The work of one run."""

    records: int = 0
    """Records that were folded and removed."""
    repositories: int = 0
    """Repositories that had records, or that a pass looked at."""

    def as_json(self) -> Mapping[str, int]:
        """Return the counts for the record of the run."""
        return {"records": self.records, "repositories": self.repositories}


@dataclass(frozen=True, slots=True)
class _Found:
    """A repository as it was looked at."""

    summary: RepositorySummary
    hint: RepositoryHint | None


class SummaryFolding:
    """Folds changes and keeps the stored summaries current; used by one task at a time.

    Args:
        storage: the store.
        log: the changes that are not folded yet.
        summaries: answers questions about repositories.
        pulls: the pulls that all processes recorded; None if pulls are not recorded.
        pulls_kept: pulls older than this are dropped.
        offload: runs a function in a thread.
    """

    def __init__(
        self,
        storage: BlobStorage,
        *,
        log: ChangeLog,
        summaries: SummaryService,
        pulls: PullHistory | None = None,
        pulls_kept: timedelta = PULLS_KEPT,
        offload: Offload,
    ) -> None:
        self._storage = storage
        self._log = log
        self._summaries = summaries
        self._pulls = pulls
        self._pulls_kept = pulls_kept
        self._offload = offload
        self._next_pass: datetime | None = None
        """When the next pass is due; None until the table was read."""
        self._next_merge: datetime | None = None

    async def run(self, now: datetime, *, is_held: Callable[[], bool] = lambda: True) -> FoldCounts:
        """Fold the changes, then continue the pass over all repositories if one is due.

        Args:
            now: the current time by the store's clock.
            is_held: whether this process is still the one that folds.

        Raises:
            StorageError: the store failed; the next run continues.
        """
        counts = FoldCounts()
        await self._fold(now, counts, is_held)
        if self._pulls is not None and (self._next_merge is None or now >= self._next_merge):
            await self._pulls.read(oldest=self._pulls_kept, merges=True)
            self._next_merge = now + _MERGE_INTERVAL
        if is_held() and (self._next_pass is None or now >= self._next_pass):
            await self._continue_pass(now, counts, is_held)
        return counts

    async def rebuild(self, now: datetime, *, on_progress: Callable[[int], None] = lambda _number: None) -> int:
        """Summarize all repositories, and return their number. Killed at any point, another call continues.

        Args:
            now: the current time by the store's clock.
            on_progress: called with the number of repositories so far.

        Raises:
            StorageError: the store failed.
        """
        number, after, is_last = 0, "", False
        while not is_last:
            paths, is_last = await self._paths(after)
            rows = await self._store_hints(await self._refresh(paths))
            await self._replace_rows(rows, after=after, until="" if is_last else paths[-1], now=now)
            number += sum(1 for row in rows.values() if row is not None)
            on_progress(number)
            after = paths[-1] if paths else ""
        return number

    async def remove_leftovers(self, now: datetime) -> int:
        """Remove the summaries of repositories that no longer exist; return their number.

        The history of such a repository is removed a year after its last change. Costs two listings, and a request or
        two for each such repository.

        Raises:
            StorageError: the store failed.
        """
        removed = 0
        async with (
            closing(self._storage.list_marked(summary_keys.SUMMARIES, layout.MARK)) as summarized,
            closing(repository_paths(self._storage)) as existing,
        ):
            path: str | None = ""
            async for summary in summarized:
                while path is not None and path < summary:
                    path = await anext(existing, None)
                name = RepositoryName.parse(summary)
                if name is not None and path != summary:
                    await self._remove(name, now)
                    removed += 1
        return removed

    async def _remove(self, name: RepositoryName, now: datetime) -> None:
        keys = [summary_keys.manifest_summaries(name)]
        history = await read_history(self._storage, name)
        if history is not None:
            newest = max((found[0].at for tag in history.tags if (found := history.of(tag))), default=None)
            if newest is None or now - newest > HISTORY_KEPT:
                keys.append(summary_keys.tag_history(name))
        await self._storage.delete(keys)

    async def _fold(self, now: datetime, counts: FoldCounts, is_held: Callable[[], bool]) -> None:
        passed_over: set[str] = set()
        while records := await self._ready(now, passed_over):
            changes = dict(zip(records, await map_bounded(self._log.read, records), strict=True))
            done = await self._fold_changes(changes, counts, is_held)
            await self._storage.delete([summary_keys.change(record.name) for record in done])
            counts.records += len(done)
            passed_over |= {record.name for record in records}

    async def _fold_changes(
        self, changes: Mapping[ChangeRecord, Sequence[Change]], counts: FoldCounts, is_held: Callable[[], bool]
    ) -> Sequence[ChangeRecord]:
        """Add changes to the histories and the table; return the records that may be removed."""
        by_repository: dict[RepositoryName, list[tuple[str, Change]]] = {}
        for record, found in changes.items():
            for change in found:
                by_repository.setdefault(change.repository, []).append((record.id, change))

        async def fold(name: RepositoryName) -> bool:
            return await self._fold_history(name, by_repository[name])

        names = list(by_repository)
        are_folded = await map_bounded(fold, names, at_once=_AT_ONCE)
        refreshed = await self._refresh(names)
        if not is_held():
            return ()
        rows = await self._store_hints(refreshed)
        table = await read_table(self._storage, offload=self._offload)
        await write_table(self._storage, replace(table, rows=_with_rows(table.rows, rows)), offload=self._offload)
        counts.repositories += len(names)
        kept = {name for name, is_folded in zip(names, are_folded, strict=True) if not is_folded}
        return [record for record, found in changes.items() if not (found and found[0].repository in kept)]

    async def _ready(self, now: datetime, passed_over: Collection[str]) -> Sequence[ChangeRecord]:
        """Return records that are old enough to be folded, at most `RECORDS_AT_ONCE`."""
        ready: list[ChangeRecord] = []
        async with closing(self._storage.walk(summary_keys.CHANGES)) as objects:
            async for key, stat in objects:
                record = parse_record(key.removeprefix(f"{summary_keys.CHANGES}/"))
                if record is None or record.name in passed_over or now - stat.modified_at < RECORD_AGE:
                    continue
                ready.append(record)
                if len(ready) == RECORDS_AT_ONCE:
                    break
        return ready

    async def _fold_history(self, name: RepositoryName, changes: Sequence[tuple[str, Change]]) -> bool:
        """Add changes to the history of a repository; return False if it is that of another release."""
        history = await read_history(self._storage, name)
        if history is None:
            return False
        digests = {change.digest for _, change in changes if change.digest}
        summaries = await self._summaries.describe(name, digests, built_max=_BUILT_MAX)
        described = {digest: (each.media_type, each.contents[digest]) for digest, each in summaries.items()}
        merged = await self._offload(partial(merge, history, changes, described=described))
        if merged is not history:
            await self._storage.write(summary_keys.tag_history(name), await self._offload(encode, merged))
        return True

    async def _continue_pass(self, now: datetime, counts: FoldCounts, is_held: Callable[[], bool]) -> None:
        """Look at some repositories, whether they have records or not."""
        table = await read_table(self._storage, offload=self._offload)
        if not table.after and table.built_at is not None and now - table.built_at < PASS_INTERVAL:
            self._next_pass = table.built_at + PASS_INTERVAL
            return
        paths, is_last = await self._paths(table.after)
        found = await self._refresh(paths)
        if is_held():
            rows = await self._store_hints(found)
            await self._replace_rows(rows, after=table.after, until="" if is_last else paths[-1], now=now)
            self._next_pass = now + PASS_INTERVAL if is_last else now
        counts.repositories += len(found)

    async def _paths(self, after: str) -> tuple[Sequence[str], bool]:
        """Return the next paths of repositories, and whether they are the last ones."""
        paths: list[str] = []
        async with closing(repository_paths(self._storage, after=after)) as found:
            async for path in found:
                paths.append(path)
                if len(paths) == REPOSITORIES_PER_RUN:
                    return paths, False
        return paths, True

    async def _refresh(self, paths: Iterable[str]) -> Mapping[RepositoryName, "_Found | None"]:
        names = [name for name in map(RepositoryName.parse, paths) if name is not None]
        return dict(zip(names, await map_bounded(self._complete, names, at_once=_AT_ONCE), strict=True))

    async def _store_hints(
        self, found: Mapping[RepositoryName, "_Found | None"]
    ) -> Mapping[RepositoryName, RepositorySummary | None]:
        """Store the hints for searches, and return the summaries."""
        hints = {name: None if each is None else each.hint for name, each in found.items()}
        await update_shards(self._storage, hints, offload=self._offload)
        return {name: None if each is None else each.summary for name, each in found.items()}

    async def _complete(self, name: RepositoryName) -> "_Found | None":
        """Return summary and hint of a repository, completed as far as its content can be read."""
        found = await self._summaries.refreshed(name, built_max=_BUILT_MAX)
        before = None
        while found is not None and not found.summary.is_complete and found.summary != before:
            before, found = found.summary, await self._summaries.refreshed(name, built_max=_BUILT_MAX)
        return None if found is None else _Found(found.summary, await self._summaries.hint(found))

    async def _replace_rows(
        self, rows: Mapping[RepositoryName, RepositorySummary | None], *, after: str, until: str, now: datetime
    ) -> None:
        """Replace the rows between two paths; an empty `until` ends the pass."""
        table = await read_table(self._storage, offload=self._offload)
        others = {name: row for name, row in table.rows.items() if name <= after or (until and name > until)}
        built_at = table.built_at if until else now
        new = StoredTable(rows=_with_rows(others, rows), built_at=built_at, after=until)
        await write_table(self._storage, new, offload=self._offload)


def _with_rows(
    old: Mapping[RepositoryName, RepositorySummary], new: Mapping[RepositoryName, RepositorySummary | None]
) -> Mapping[RepositoryName, RepositorySummary]:
    kept = {name: row for name, row in old.items() if name not in new}
    return kept | {name: row for name, row in new.items() if row is not None}
