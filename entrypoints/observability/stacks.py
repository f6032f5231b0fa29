"""Stacks of all tasks and threads, the first thing to read when something hangs.

The output contains names of files and functions and line numbers, never values.
"""

import asyncio
import contextlib
import faulthandler
import io
import os
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Final

STACK_SIGNAL: Final = signal.SIGUSR1
"""Signal that makes a worker write the stacks of its threads, even if its event loop is stuck."""
_PATIENCE_SECONDS: Final = 2.0
_PEER_CREDENTIALS: Final = struct.Struct("3i")


def dump_stacks() -> str:
    """Return the stacks of all tasks of the running event loop and of all threads."""
    text = io.StringIO()
    tasks = sorted(asyncio.all_tasks(), key=lambda task: task.get_name())
    text.write(f"process {os.getpid()}, {len(tasks)} tasks\n")
    for task in tasks:
        # Not the task's own representation, which includes its result.
        coroutine = getattr(task.get_coro(), "__qualname__", "?")
        text.write(f"\ntask {task.get_name()}: {coroutine}\n")
        for line in _awaited_frames(task):
            text.write(line)
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for identity, frame in sys._current_frames().items():  # noqa: SLF001 - documented; no public alternative
        text.write(f"\nthread {names.get(identity, identity)}\n")
        text.writelines(traceback.format_stack(frame))
    return text.getvalue()


def _awaited_frames(task: "asyncio.Task[object]") -> Iterator[str]:
    """Yield the frames of a task from the outermost inward; `Task.get_stack` returns only the outermost."""
    awaitable: object = task.get_coro()
    while awaitable is not None:
        frame = getattr(awaitable, "cr_frame", None) or getattr(awaitable, "gi_frame", None)
        frame = frame or getattr(awaitable, "ag_frame", None)
        if frame is None:
            return
        yield from traceback.format_list(
            [traceback.FrameSummary(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)]
        )
        awaitable = (
            getattr(awaitable, "cr_await", None)
            or getattr(awaitable, "gi_yieldfrom", None)
            or getattr(awaitable, "ag_await", None)
        )


@contextlib.contextmanager
def answering_signal(file: Path) -> Iterator[None]:
    """Append the stacks of all threads to `file` at each `STACK_SIGNAL`, without running Python code."""
    # Ignore the signal after the block: the default action would end the process, and a late signal may still arrive.
    signal.signal(STACK_SIGNAL, signal.SIG_IGN)
    with file.open("wb", buffering=0) as output:
        faulthandler.register(STACK_SIGNAL, file=output, all_threads=True)
        try:
            yield
        finally:
            faulthandler.unregister(STACK_SIGNAL)


def dump_stuck(socket_path: Path, file: Path) -> str:
    """Return the thread stacks of a worker whose event loop does not answer. Blocks for up to two seconds.

    Args:
        socket_path: socket of the worker; the kernel reports its process, so that no other process gets the signal.
        file: file to which the worker writes its stacks.

    Raises:
        OSError: no process listens on the socket.
    """
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(_PATIENCE_SECONDS)
        peer.connect(str(socket_path))
        found = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_CREDENTIALS.size)
    process = _PEER_CREDENTIALS.unpack(found)[0]
    before = file.stat().st_size
    os.kill(process, STACK_SIGNAL)
    ends = time.monotonic() + _PATIENCE_SECONDS
    while (size := file.stat().st_size) == before or size != _size_a_moment_later(file):
        if time.monotonic() > ends:
            break
    written = file.read_bytes()[before:].decode(errors="replace")
    return f"process {process}, its event loop does not respond\n\n{written}"


def _size_a_moment_later(file: Path) -> int:
    time.sleep(0.05)
    return file.stat().st_size
