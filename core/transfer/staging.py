"""What copies keep at the target while they run, and what those left there that nobody started again."""

from datetime import datetime, timedelta
from typing import Final

from core import layout
from core.errors import ObjectNotFoundError, UnsupportedError
from core.transfer.blobs import Work

ABANDONED_AFTER: Final = timedelta(days=7)
"""After so long without a write, what a copy staged is removed by the next one."""


async def begin_staging(work: Work) -> None:
    """Make sure that both storages are not one, and remove what copies of long ago staged at the target.

    Raises:
        UnsupportedError: what is written to the target is seen in the source.
    """
    marker = layout.transfer_marker(work.transfer_id)
    await work.target.write(marker, b"", durable=False)
    if await _is_there(work, marker):
        # One may also be left from a copy into what is the source now; only in one storage it goes with ours.
        await work.target.delete([marker])
        if not await _is_there(work, marker):
            raise UnsupportedError("source and target are one and the same storage")
        await work.target.write(marker, b"", durable=False)
    # The store's own time, by which it dates objects.
    await _remove_abandoned(work, (await work.target.stat(marker)).modified_at - ABANDONED_AFTER)


async def end_staging(work: Work) -> None:
    """Remove what the copy staged; it has come to its end."""
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
