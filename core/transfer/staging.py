"""Staged data that copies keep at the target while they run, and removal of data that was left there."""

from datetime import datetime, timedelta
from typing import Final

from core.errors import UnsupportedError
from core.store import layout
from core.store.objects import find
from core.transfer.context import CopyContext

ABANDONED_AFTER: Final = timedelta(days=7)
"""The next copy removes staged data whose last write is older than this."""


async def begin_staging(context: CopyContext) -> None:
    """Check that the storages differ, and remove old staged data from the target.

    Raises:
        UnsupportedError: source and target are the same storage.
    """
    marker = layout.transfer_marker(context.transfer_id)
    await context.target.write(marker, b"", durable=False)
    if await find(context.source, marker):
        # The marker at the source may be left from an earlier copy into that storage. Only if the two storages are the
        # same does the marker at the source disappear with the one at the target.
        await context.target.delete([marker])
        if not await find(context.source, marker):
            raise UnsupportedError("source and target are the same storage")
        await context.target.write(marker, b"", durable=False)
    # Compare with the store's own clock, which also dates the staged objects.
    await _remove_abandoned(context, (await context.target.stat(marker)).modified_at - ABANDONED_AFTER)


async def end_staging(context: CopyContext) -> None:
    """Remove the staged data of a finished copy."""
    await context.target.delete_tree(layout.transfer(context.transfer_id))


async def _remove_abandoned(context: CopyContext, before: datetime) -> None:
    youngest: dict[str, datetime] = {}
    async for key, stat in context.target.walk(layout.TRANSFERS):
        transfer_id = key.removeprefix(f"{layout.TRANSFERS}/").partition("/")[0]
        youngest[transfer_id] = max(stat.modified_at, youngest.get(transfer_id, stat.modified_at))
    abandoned = [layout.transfer(transfer_id) for transfer_id, written_at in youngest.items() if written_at < before]
    if abandoned:
        await context.target.delete_tree(*abandoned)
