"""Writing many small things together: what comes while a write is under way shares the next one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

T = TypeVar("T")

GROUP_ITEMS_MAX: Final = 500
"""How many items share one write, where no one caller brings more."""


class GroupCommit(Generic[T]):
    """Writes items in the order in which they come, one write at a time; one per place they are written to.

    Args:
        write: makes a group of items durable, all or none of them.
    """

    def __init__(self, write: Callable[[Sequence[T]], Awaitable[None]]) -> None:
        self._write = write
        self._waiting: list[tuple[Sequence[T], asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def add(self, items: Sequence[T]) -> None:
        """Return when these items are durable. A caller that is cancelled leaves them to be written all the same.

        Raises:
            Exception: what the write of their group raised; others may have been in it.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((items, done))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all())
        await done

    async def _write_all(self) -> None:
        while self._waiting:
            group = self._take_group()
            try:
                await self._write([item for items, _ in group for item in items])
            except Exception as error:  # noqa: BLE001 - whoever waits is told, whatever it is
                for _, done in group:
                    if not done.done():
                        done.set_exception(error)
            else:
                for _, done in group:
                    if not done.done():
                        done.set_result(None)
        # No await lies between this and the test above, so nobody's items are left waiting.
        self._writer = None

    def _take_group(self) -> list[tuple[Sequence[T], "asyncio.Future[None]"]]:
        size, taken = 0, 0
        for items, _ in self._waiting:
            size += len(items)
            if taken and size > GROUP_ITEMS_MAX:
                break
            taken += 1
        group, self._waiting = self._waiting[:taken], self._waiting[taken:]
        return group
