"""Removal of abandoned upload sessions: found in one listing, removed in batches."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from core.coordination.budget import Budget
from core.model.names import RepositoryName
from core.ports.blob_storage import BlobStorage
from core.ports.staging import StagingStorage
from core.registry.upload_state import is_upload_id
from core.store import layout

_BATCH_SESSIONS_MAX: Final = 100
_REMOVAL_REQUESTS: Final = 3
"""Approximate requests to remove a session: a listing of its repository's sessions, a record, a share of a deletion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """Sessions and unfinished writes that were removed, or would be removed in a dry run."""

    sessions: list[str] = field(default_factory=list)
    """Keys of the sessions: `…/<repository>/_uploads/<uuid>`."""
    unfinished: list[str] = field(default_factory=list)
    """Keys of multipart uploads that belong to no session."""


async def remove_abandoned(
    storage: StagingStorage, *, before: datetime, budget: Budget, dry_run: bool = False
) -> Purged:
    """Remove sessions without a write since `before`, and unfinished writes that no listing shows.

    The age of a session is that of its youngest object, so a session that still receives data stays, however long ago
    it began. Only directories that are named like sessions (a UUID, within a repository) are touched. A young session
    costs only its share of the listing; its key stays in memory until the end.

    Args:
        storage: the store.
        before: by the store's clock.
        budget: charged one request for each 1,000 listed objects, and three for each removed session.
        dry_run: only report; remove nothing.
    """
    purged = Purged()
    young: set[str] = set()
    batch: list[str] = []
    async for session, modified_at in _sessions(storage, budget):
        if modified_at >= before:
            young.add(session)
            continue
        purged.sessions.append(session)
        batch.append(session)
        if len(batch) >= _BATCH_SESSIONS_MAX:
            await _remove(storage, batch, budget, dry_run=dry_run)
            batch.clear()
    await _remove(storage, batch, budget, dry_run=dry_run)
    await budget.take()
    purged.unfinished.extend(
        await storage.drop_unfinished(
            layout.ROOT,
            before=before,
            is_spared=lambda key: (session_of(key) or "") in young,
            dry_run=dry_run,
        )
    )
    return purged


async def _remove(storage: BlobStorage, sessions: list[str], budget: Budget, *, dry_run: bool) -> None:
    if sessions and not dry_run:
        await budget.take(requests=_REMOVAL_REQUESTS * len(sessions))
        await storage.delete_tree(*sessions)


async def _sessions(storage: BlobStorage, budget: Budget) -> AsyncIterator[tuple[str, datetime]]:
    """Yield each session with the time of its youngest object."""
    youngest: tuple[str, datetime] | None = None
    async for key, stat in budget.pace(storage.walk_within(layout.REPOSITORIES, layout.UPLOADS_DIRECTORY)):
        session = session_of(key)
        # The objects of one session are listed consecutively.
        if youngest is not None and session == youngest[0]:
            youngest = (session, max(youngest[1], stat.modified_at))
            continue
        if youngest is not None:
            yield youngest
        youngest = None if session is None else (session, stat.modified_at)
    if youngest is not None:
        yield youngest


def session_of(key: str) -> str | None:
    """Return the key of the session that an object belongs to, or None."""
    path, _, rest = key.removeprefix(f"{layout.REPOSITORIES}/").partition(f"/{layout.UPLOADS_DIRECTORY}/")
    upload_id = rest.partition("/")[0]
    if not is_upload_id(upload_id):
        return None
    name = RepositoryName.parse(path)
    return layout.upload(name, upload_id) if name else None
