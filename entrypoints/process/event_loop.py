"""The event loop of a server, which looks for new events less often while it is busy.

asyncio asks the kernel for events before each turn, also when calls wait that the last turn scheduled, such as the
continuation of a request whose thread has ended. Each question takes a system call and a hand-over of the interpreter's
lock, and half of the questions of a push came from such turns.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from typing_extensions import override

T = TypeVar("T")

TURNS_MAX: Final = 4
"""Maximum number of turns without a question while calls wait, so that no chain of calls delays other connections."""


class _PatientSelector(selectors.EpollSelector):
    def __init__(self) -> None:
        super().__init__()
        self._turns = 0

    @override
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        # asyncio waits for no time if calls wait.
        if timeout == 0 and self._turns < TURNS_MAX:
            self._turns += 1
            return []
        self._turns = 0
        return super().select(timeout)


def run_patiently(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, like `asyncio.run`."""
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(_PatientSelector())) as runner:
        return runner.run(main)
