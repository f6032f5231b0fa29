"""Waits until every task of the event loop waits for something that no task will do."""

import asyncio
from collections import deque
from typing import Any, Final

_ROUNDS_MAX: Final = 100_000
"""After so many rounds of the loop, the tasks wake each other without an end."""


async def quiet() -> None:
    """Let all other tasks run until each of them is done, or waits for time, for a thread or for the network.

    One task at a time may wait here: two would wait for each other.
    """
    ready = _callbacks(asyncio.get_running_loop())
    for _ in range(_ROUNDS_MAX):
        await asyncio.sleep(0)
        # This task runs now, so it is not among the callbacks that are due.
        if not ready:
            return
    raise AssertionError("the tasks wake each other without an end")


def _callbacks(loop: asyncio.AbstractEventLoop) -> "deque[Any]":
    """Return the callbacks that are due: a private part of asyncio's own loop, which has no public equivalent."""
    callbacks = getattr(loop, "_ready", None)
    assert isinstance(callbacks, deque), f"{type(loop).__name__} keeps its callbacks elsewhere"
    return callbacks
