"""The base of all objects that a block opens and closes."""

from abc import ABC
from types import TracebackType
from typing import Self


class Resource(ABC):  # noqa: B024 - the ports derive from it, and their methods are abstract
    """An object that is usable inside `async with`, and that starts and stops what it needs.

    A subclass overrides `start`, `stop`, or both; without them, the block opens nothing. A `start` that raises leaves
    nothing open, because `stop` is not called then. An object can start again after it has stopped.
    """

    async def start(self) -> None:
        """Open files, connections, threads and tasks."""

    async def stop(self) -> None:
        """Close all that `start` has opened. It is called once, also after an error in the block."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
