"""Upload sessions that nobody came back to: found in one listing, removed many at a time."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from core import layout
from core.budget import Budget
from core.errors import NameInvalidError
from core.names import RepositoryName
from core.ports.blob_storage import BlobStorage
from core.upload_state import is_upload_id

_BATCH_SESSIONS_MAX: Final = 100
_PAGE_ENTRIES: Final = 1_000
"""How many objects a store lists in one request."""
_REMOVAL_REQUESTS: Final = 3
"""What a session costs to remove, about: a listing of its repository's sessions, a record, its share of a deletion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """What was removed, or would be."""

    sessions: list[str] = field(default_factory=list)
    """Keys of sessions, `…/<repository>/_uploads/<uuid>`."""
    unfinished: list[str] = field(default_factory=list)
    """Keys that multipart uploads were begun at, without a session that tells of them."""


async def remove_abandoned(storage: BlobStorage, *, before: datetime, budget: Budget, dry_run: bool = False) -> Purged:
    """Remove the sessions that nobody has written to since `before`, and what writers left that no listing shows.

    A session counts by the youngest of its objects, so one that is still fed stays however long ago it began. Only
    directories that are named as sessions are (UUIDs, in a repository) are ever touched. Of sessions that are young a
    listing tells all there is to know; the keys of those stay in memory until the end.

    Args:
        storage: where to look.
        before: by the store's clock.
        budget: one request for each 1,000 objects that are listed, three for each session that is removed.
        dry_run: remove nothing, only tell.
    """
    purged = Purged()
    young: set[str] = set()
    batch: list[str] = []
    await budget.take()
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
    listed = 0
    youngest: tuple[str, datetime] | None = None
    async for key, stat in storage.walk_within(layout.REPOSITORIES, layout.UPLOADS_DIRECTORY):
        listed += 1
        if listed % _PAGE_ENTRIES == 0:
            await budget.take()
        session = session_of(key)
        # What lies in one session comes together.
        if youngest is not None and session == youngest[0]:
            youngest = (session, max(youngest[1], stat.modified_at))
            continue
        if youngest is not None:
            yield youngest
        youngest = None if session is None else (session, stat.modified_at)
    if youngest is not None:
        yield youngest


def session_of(key: str) -> str | None:
    """Return the key of the session that an object belongs to, or None where it belongs to none."""
    path, _, rest = key.removeprefix(f"{layout.REPOSITORIES}/").partition(f"/{layout.UPLOADS_DIRECTORY}/")
    upload_id = rest.partition("/")[0]
    if not is_upload_id(upload_id):
        return None
    try:
        return layout.upload(RepositoryName(path), upload_id)
    except NameInvalidError:
        # Somebody else's folder.
        return None
