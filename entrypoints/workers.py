"""Several processes that serve one address, and the one that keeps them alive.

The parent opens the sockets and forks before it has threads or an event loop; it serves nothing itself. A worker that
dies is replaced and takes over its socket, whose waiting connections the kernel has kept. Signals reach all of them.
"""

import logging
import os
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_logger = logging.getLogger(__name__)

_SIGNALS: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD})
_FAILED: Final = 1
_RESTART_SECONDS: Final = 1.0
"""How long a worker that died young waits for its successor, so that a broken one does not spin."""
_FIRST_SECONDS: Final = 10.0
"""How long the others wait for the first worker to serve."""
_CPU_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True, slots=True)
class Worker:
    """What a worker knows of its place; `ALONE` is a process that has no parent."""

    number: int = 0
    lifeline: int | None = None
    """A descriptor that ends when the parent does, however it ends."""
    ready_pipe: int | None = None

    @property
    def is_first(self) -> bool:
        """Whether it does what one of them has to do for all."""
        return self.number == 0

    def tell_ready(self) -> None:
        """Tell the parent that this worker serves."""
        if self.ready_pipe is not None:
            os.write(self.ready_pipe, b"1")


ALONE: Final = Worker()


def usable_cores() -> int:
    """Return how many cores this process may keep busy: its affinity, and its container's quota rounded up."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = _CPU_QUOTA.read_text().split()
        return max(1, min(cores, -(-int(quota) // int(period))))
    except (OSError, ValueError):
        # No control group, or "max": no quota.
        return cores


@dataclass(slots=True)
class _Child:
    number: int
    ready_pipe: int
    begun_at: float
    is_ready: bool = False


class Supervisor:
    """Keeps `count` workers alive; one per process, used once, from the main thread.

    Args:
        start: what a worker runs, in its own process; returns its exit code.
        count: how many workers.
        on_end: told the number of each worker that ended, before its successor begins.
    """

    def __init__(
        self, start: Callable[[Worker], int], count: int, *, on_end: Callable[[int], None] = lambda _number: None
    ) -> None:
        self._on_end = on_end
        self._start = start
        self._count = count
        self._children: dict[int, _Child] = {}
        self._is_stopping = False
        self._exit_code = 0
        self._has_served = False
        self._lifeline, self._held_lifeline = os.pipe()

    def run(self) -> int:
        """Supervise until SIGTERM or SIGINT has ended all workers.

        Returns:
            0, or the exit code of the worker that could not even begin to serve.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self._spawn(0)
        # It fills the catalog before it serves; the others would show what the index had before. They wait no longer
        # than for a slow start, and a dead first worker ends the wait too.
        select.select([child.ready_pipe for child in self._children.values()], [], [], _FIRST_SECONDS)
        for number in range(1, self._count):
            self._spawn(number)
        while self._children:
            received = signal.sigwaitinfo(_SIGNALS).si_signo
            if received == signal.SIGCHLD:
                self._reap()
            elif received == signal.SIGHUP:
                self._send(signal.SIGHUP)
            else:
                self._stop()
        return self._exit_code

    def _spawn(self, number: int) -> None:
        reading, writing = os.pipe()
        process = os.fork()
        if process == 0:
            self._become_worker(Worker(number, lifeline=self._lifeline, ready_pipe=writing))
        os.close(writing)
        os.set_blocking(reading, False)
        self._children[process] = _Child(number, reading, time.monotonic())

    def _become_worker(self, worker: Worker) -> None:
        code = _FAILED
        try:
            os.close(self._held_lifeline)
            for child in self._children.values():
                os.close(child.ready_pipe)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            code = self._start(worker)
        except BaseException:
            _logger.exception("worker %d failed", worker.number)
        finally:
            logging.shutdown()
            # Not sys.exit: what the parent has open, and its callers on the stack, are not this process's to end.
            os._exit(code)

    def _reap(self) -> None:
        # One signal may stand for several ends.
        while self._children:
            process, status = os.waitpid(-1, os.WNOHANG)
            if process == 0:
                return
            child = self._children.pop(process)
            self._bury(child, os.waitstatus_to_exitcode(status))

    def _bury(self, child: _Child, code: int) -> None:
        self._has_served |= any(_heard(other) for other in [child, *self._children.values()])
        os.close(child.ready_pipe)
        self._on_end(child.number)
        if self._is_stopping:
            return
        if not self._has_served:
            # It could not begin, and neither will the others: the address, the storage or the configuration is wrong.
            self._exit_code = code if code > 0 else _FAILED
            self._stop()
            return
        _logger.error("worker %d ended with %d and is replaced", child.number, code)
        if time.monotonic() - child.begun_at < _RESTART_SECONDS:
            time.sleep(_RESTART_SECONDS)
        self._spawn(child.number)

    def _stop(self) -> None:
        self._is_stopping = True
        self._send(signal.SIGTERM)

    def _send(self, number: signal.Signals) -> None:
        for process in self._children:
            os.kill(process, number)


def _heard(child: _Child) -> bool:
    """Whether a worker has told that it serves."""
    if not child.is_ready:
        try:
            child.is_ready = os.read(child.ready_pipe, 1) == b"1"
        except BlockingIOError:
            return False
    return child.is_ready
