"""Waits until every task of the event loop waits for something other than a task."""

import asyncio
from collections import deque
from typing import Any, Final

_ROUNDS_MAX: Final = 100_000
"""Number of loop iterations after which the tasks are considered to wake each other endlessly."""


async def quiet() -> None:
    """Let all other tasks run until each is done, or waits for time, a thread or the network.

    Only one task at a time may call this: two would wait for each other.
    """
    ready = _callbacks(asyncio.get_running_loop())
    for _ in range(_ROUNDS_MAX):
        await asyncio.sleep(0)
        # This task is running, so it is not among the due callbacks.
        if not ready:
            return
    raise AssertionError("the tasks wake each other without an end")


async def settle() -> None:
    """Let servers and clients of this event loop read what was sent, however slow the machine is."""
    for _ in range(20):
        # The loop looks at its sockets once in each.
        await asyncio.sleep(0.003)


def _callbacks(loop: asyncio.AbstractEventLoop) -> "deque[Any]":
    """Return the due callbacks from a private attribute of asyncio's own loop; there is no public equivalent."""
    callbacks = getattr(loop, "_ready", None)
    assert isinstance(callbacks, deque), f"{type(loop).__name__} keeps its callbacks elsewhere"
    return callbacks
