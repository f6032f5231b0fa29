"""Several processes that serve one address, and the one that keeps them alive.

The parent opens the sockets and forks before it has threads or an event loop; it serves nothing itself. A worker that
dies is replaced and takes over its socket, whose waiting connections the kernel has kept. Signals reach all of them.
"""

import logging
import math
import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from typing_extensions import override

from config.logging import flush_logs
from entrypoints.service_manager import BEATS_PER_PERIOD, NOBODY, Reports, ServiceManager

_logger = logging.getLogger(__name__)

_SIGNALS: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD})
_FAILED: Final = 1
_RESTART_SECONDS: Final = 1.0
"""How long a worker that died young waits for its successor, so that a broken one does not spin."""
_FIRST_SECONDS: Final = 10.0
"""How long the others wait for the first worker to serve."""
_SOON_SECONDS: Final = 0.1
"""How often workers are listened to while systemd waits for what they will say."""
_LONG_SECONDS: Final = 3600.0
WATCHDOG_SECONDS: Final = 30.0
"""How long a worker's event loop may stand still before the worker is killed, where systemd sets no period."""
_END_SECONDS: Final = 8.0
"""How long a worker may take to end after the drain; less than systemd and the shipped manifests grant the service."""
_SAID_BYTES_MAX: Final = 65536
_READY: Final = b"1"
_RELOADED: Final = b"r"
_ALIVE: Final = b"."
_CPU_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True, slots=True)
class Worker:
    """What a worker knows of its place; one process that serves alone has no parent."""

    reports: Reports
    """Who is told how it fares: the parent, or systemd."""
    number: int = 0
    lifeline: int | None = None
    """A descriptor that ends when the parent does, however it ends."""

    @property
    def is_first(self) -> bool:
        """Whether it does what one of them has to do for all."""
        return self.number == 0

    @property
    def is_alone(self) -> bool:
        """Whether there is no parent."""
        return self.lifeline is None


class PipeReports(Reports):
    """Tells the parent, a byte each."""

    def __init__(self, pipe: int, *, beat_seconds: float | None) -> None:
        self._pipe = pipe
        self._beat_seconds = beat_seconds

    @property
    @override
    def beat_seconds(self) -> float | None:
        return self._beat_seconds

    @override
    def ready(self, status: str) -> None:
        self._tell(_READY)

    @override
    def reloading(self) -> None:
        """Say nothing: the parent passed the signal on."""

    @override
    def reloaded(self) -> None:
        self._tell(_RELOADED)

    @override
    def alive(self) -> None:
        self._tell(_ALIVE)

    @override
    def stopping(self, drain_seconds: float) -> None:
        """Say nothing: the parent passed the signal on."""

    def _tell(self, what: bytes) -> None:
        # A parent that hangs does not read, and must not stop the loops of its workers.
        with suppress(BlockingIOError):
            os.write(self._pipe, what)


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
    pipe: int
    begun_at: float
    heard_at: float = 0.0
    is_ready: bool = False
    is_reloading: bool = False

    def listen(self, now: float) -> None:
        """Take in what it has said since it was last listened to."""
        try:
            said = os.read(self.pipe, _SAID_BYTES_MAX)
        except BlockingIOError:
            return
        if said:
            self.heard_at = now
        self.is_ready |= _READY in said
        self.is_reloading &= _RELOADED not in said


class Supervisor:
    """Keeps `count` workers alive; one per process, used once, from the main thread.

    Args:
        start: what a worker runs, in its own process; returns its exit code.
        count: how many workers.
        service: is told how all of them fare.
        status: what it is told once they serve.
        drain_seconds: how long requests may go on after a stop was asked for.
        watchdog_seconds: after how long a silent worker is killed, where systemd sets no period.
        end_seconds: how long after the drain a worker is killed that has not ended.
        on_end: told the number of each worker that ended, before its successor begins.
    """

    def __init__(
        self,
        start: Callable[[Worker], int],
        count: int,
        *,
        service: ServiceManager = NOBODY,
        status: str = "",
        drain_seconds: float = 0.0,
        watchdog_seconds: float = WATCHDOG_SECONDS,
        end_seconds: float = _END_SECONDS,
        on_end: Callable[[int], None] = lambda _number: None,
    ) -> None:
        self._on_end = on_end
        self._start = start
        self._count = count
        self._service = service
        self._status = status
        self._drain_seconds = drain_seconds
        self._end_seconds = end_seconds
        self._watchdog_seconds = service.watchdog_seconds or watchdog_seconds
        self._beat_seconds = self._watchdog_seconds / BEATS_PER_PERIOD
        self._kills_at = math.inf
        self._children: dict[int, _Child] = {}
        self._is_stopping = False
        self._is_told_ready = False
        self._is_reloading = False
        self._looked_at = time.monotonic()
        self._exit_code = 0
        self._has_served = False
        self._lifeline, self._held_lifeline = os.pipe()
        self._signals, self._signalled = os.pipe()
        self._inherited = {number: signal.getsignal(number) for number in _SIGNALS}

    def run(self) -> int:
        """Supervise until SIGTERM or SIGINT has ended all workers.

        Returns:
            0, or the exit code of the worker that could not even begin to serve.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self._catch_signals()
        self._spawn(0)
        # It fills the catalog before it serves; the others would show what the index had before. They wait no longer
        # than for a slow start, and a dead first worker ends the wait too.
        select.select([child.pipe for child in self._children.values()], [], [], _FIRST_SECONDS)
        for number in range(1, self._count):
            self._spawn(number)
        while self._children:
            for number in self._wait_for_signals(self._patience_seconds()):
                self._handle(number)
            self._listen()
            self._kill_late()
        return self._exit_code

    def _catch_signals(self) -> None:
        """Have the numbers of signals written to a pipe.

        Not `signal.sigtimedwait`: after SIGCONT, or when a frozen container goes on, it may return a number that was
        never sent (CPython 3.11 does not check whether the time was over).
        """
        for descriptor in (self._signals, self._signalled):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self._signalled, warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, lambda _number, _frame: None)

    def _wait_for_signals(self, seconds: float) -> bytes:
        """Return the numbers of the signals that came, waiting for the first one at most so long."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        select.select([self._signals], [], [], seconds)
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            return os.read(self._signals, _SAID_BYTES_MAX)
        except BlockingIOError:
            return b""

    def _patience_seconds(self) -> float:
        """Return how long to wait for a signal before workers are listened to again."""
        if self._is_stopping:
            return min(_LONG_SECONDS, max(0.0, self._kills_at - time.monotonic()))
        if self._service.listens and (not self._is_told_ready or self._is_reloading):
            return _SOON_SECONDS
        return self._beat_seconds

    def _handle(self, number: int) -> None:
        if number == signal.SIGCHLD:
            self._reap()
        elif number != signal.SIGHUP:
            self._stop()
        elif not self._is_stopping:
            self._service.reloading()
            self._is_reloading = True
            for child in self._children.values():
                child.is_reloading = True
            self._send(signal.SIGHUP)

    def _listen(self) -> None:
        now = time.monotonic()
        children = self._children.values()
        for child in children:
            child.listen(now)
        if self._is_reloading and not any(child.is_reloading for child in children):
            self._is_reloading = False
            self._service.reloaded()
        if not self._is_told_ready and not self._is_stopping and all(child.is_ready for child in children):
            self._is_told_ready = True
            self._service.ready(self._status)
        self._kill_stuck(now, self._watchdog_seconds)
        if self._service.watchdog_seconds:
            self._service.alive()
        self._looked_at = now
        flush_logs()

    def _kill_stuck(self, now: float, period_seconds: float) -> None:
        if now - self._looked_at > period_seconds:
            # This process was stopped itself, and the workers with it, perhaps: they get another period.
            for child in self._children.values():
                child.heard_at = now
        for process, child in self._children.items():
            if child.is_ready and not self._is_stopping and now - child.heard_at > period_seconds:
                _logger.error("worker %d is stuck and is killed", child.number)
                os.kill(process, signal.SIGKILL)
                child.heard_at = now

    def _kill_late(self) -> None:
        """Kill the workers that a stop has not ended: one that hangs does not see its signal."""
        if time.monotonic() < self._kills_at:
            return
        self._kills_at = math.inf
        for process, child in self._children.items():
            _logger.error("worker %d did not end in time and is killed", child.number)
            os.kill(process, signal.SIGKILL)

    def _spawn(self, number: int) -> None:
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        process = os.fork()
        if process == 0:
            reports = PipeReports(writing, beat_seconds=self._beat_seconds)
            self._become_worker(Worker(reports, number, lifeline=self._lifeline))
        os.close(writing)
        os.set_blocking(reading, False)
        self._children[process] = _Child(number, reading, time.monotonic())

    def _become_worker(self, worker: Worker) -> None:
        code = _FAILED
        try:
            os.close(self._held_lifeline)
            for child in self._children.values():
                os.close(child.pipe)
            signal.set_wakeup_fd(-1)
            for descriptor in (self._signals, self._signalled):
                os.close(descriptor)
            for number, handler in self._inherited.items():
                signal.signal(number, handler)
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
            self._bury(self._children.pop(process), os.waitstatus_to_exitcode(status))

    def _bury(self, child: _Child, code: int) -> None:
        for each in (child, *self._children.values()):
            each.listen(time.monotonic())
            self._has_served |= each.is_ready
        os.close(child.pipe)
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
        if not self._is_stopping and self._children:
            _logger.info("stopping", extra={"drain_seconds": self._drain_seconds, "workers": len(self._children)})
            self._service.stopping(self._drain_seconds)
            self._kills_at = time.monotonic() + self._drain_seconds + self._end_seconds
        self._is_stopping = True
        self._send(signal.SIGTERM)

    def _send(self, number: signal.Signals) -> None:
        for process in self._children:
            os.kill(process, number)
