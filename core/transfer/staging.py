"""Staged data that copies keep at the target while they run, and removal of data that was left there."""

from datetime import datetime, timedelta
from typing import Final

from core.errors import ObjectNotFoundError, UnsupportedError
from core.store import layout
from core.transfer.blobs import Work

ABANDONED_AFTER: Final = timedelta(days=7)
"""The next copy removes staged data whose last write is older than this."""


async def begin_staging(work: Work) -> None:
    """Check that the storages differ, and remove old staged data from the target.

    Raises:
        UnsupportedError: source and target are the same storage.
    """
    marker = layout.transfer_marker(work.transfer_id)
    await work.target.write(marker, b"", durable=False)
    if await _is_there(work, marker):
        # The marker at the source may be left from an earlier copy into that storage. Only if the two storages are the
        # same does the marker at the source disappear with the one at the target.
        await work.target.delete([marker])
        if not await _is_there(work, marker):
            raise UnsupportedError("source and target are the same storage")
        await work.target.write(marker, b"", durable=False)
    # Compare with the store's own clock, which also dates the staged objects.
    await _remove_abandoned(work, (await work.target.stat(marker)).modified_at - ABANDONED_AFTER)


async def end_staging(work: Work) -> None:
    """Remove the staged data of a finished copy."""
    await work.target.delete_tree(layout.transfer(work.transfer_id))


async def _is_there(work: Work, marker: str) -> bool:
    try:
        await work.source.stat(marker)
    except ObjectNotFoundError:
        return False
    return True


async def _remove_abandoned(work: Work, before: datetime) -> None:
    youngest: dict[str, datetime] = {}
    async for key, stat in work.target.walk(layout.TRANSFERS):
        transfer_id = key.removeprefix(f"{layout.TRANSFERS}/").partition("/")[0]
        youngest[transfer_id] = max(stat.modified_at, youngest.get(transfer_id, stat.modified_at))
    abandoned = [layout.transfer(transfer_id) for transfer_id, written_at in youngest.items() if written_at < before]
    if abandoned:
        await work.target.delete_tree(*abandoned)
