"""Group commit: items that arrive during a write share the next write."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

T = TypeVar("T")

GROUP_ITEMS_MAX: Final = 500
"""Maximum number of items in one write, unless a single caller adds more."""


class GroupCommit(Generic[T]):
    """Writes items in the order of their arrival, one write at a time. One per destination.

    Args:
        write: makes a group of items durable, either all or none of them.
    """

    def __init__(self, write: Callable[[Sequence[T]], Awaitable[None]]) -> None:
        self._write = write
        self._waiting: list[tuple[Sequence[T], asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def add(self, items: Sequence[T]) -> None:
        """Add items, and return when they are durable. If the caller is cancelled, the items are still written.

        Raises:
            Exception: the error from writing the group, which may include items of other callers.
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
            except Exception as error:  # noqa: BLE001 - every waiting caller gets the error
                for _, done in group:
                    if not done.done():
                        done.set_exception(error)
            else:
                for _, done in group:
                    if not done.done():
                        done.set_result(None)
        # No await separates this line from the loop condition, so no items are left waiting.
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
