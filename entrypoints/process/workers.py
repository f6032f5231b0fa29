"""Worker processes that share one address, and the supervisor that restarts them.

The parent opens the sockets and forks before it has threads or an event loop; it serves no requests itself. A worker
that dies is replaced, and the new worker takes over its socket, where the kernel has kept the waiting connections.
Signals are passed on to all workers.
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
from entrypoints.process.service_manager import BEATS_PER_PERIOD, NOBODY, Reports, ServiceManager

_logger = logging.getLogger(__name__)

_SIGNALS: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD})
_FAILED: Final = 1
_RESTART_SECONDS: Final = 1.0
"""Delay before the replacement of a worker that ended right after its start, to avoid a tight loop of restarts."""
_FIRST_SECONDS: Final = 10.0
"""Maximum time that the other workers wait for the first one to serve."""
_SOON_SECONDS: Final = 0.1
"""Interval at which workers are polled while systemd waits for their status."""
_LONG_SECONDS: Final = 3600.0
WATCHDOG_SECONDS: Final = 30.0
"""Time that a worker's event loop may be blocked before the worker is killed, if systemd sets no period."""
_END_SECONDS: Final = 8.0
"""Time that a worker may take to end after the drain; shorter than the limits in systemd and the shipped manifests."""
_SAID_BYTES_MAX: Final = 65536
_READY: Final = b"1"
_RELOADED: Final = b"r"
_ALIVE: Final = b"."
_CPU_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True, slots=True)
class Worker:
    """Place of a worker among the processes; a process that serves alone has no parent."""

    reports: Reports
    """Receiver of the worker's status: the parent, or systemd."""
    number: int = 0
    lifeline: int | None = None
    """Descriptor that reaches end of file when the parent ends, for whatever reason."""

    @property
    def is_first(self) -> bool:
        """Whether this worker does the jobs that one worker does for all."""
        return self.number == 0

    @property
    def is_alone(self) -> bool:
        """Whether the process has no parent."""
        return self.lifeline is None


class PipeReports(Reports):
    """Reports the status to the parent, one byte per report."""

    def __init__(self, pipe: int, *, beat_seconds: float | None) -> None:
        self._pipe = pipe
        self._beat_seconds = beat_seconds

    @property
    @override
    def beat_seconds(self) -> float | None:
        return self._beat_seconds

    @override
    def ready(self, status: str) -> None:
        self._send(_READY)

    @override
    def reloading(self) -> None:
        """Do nothing: the parent passed the signal on."""

    @override
    def reloaded(self) -> None:
        self._send(_RELOADED)

    @override
    def alive(self) -> None:
        self._send(_ALIVE)

    @override
    def stopping(self, drain_seconds: float) -> None:
        """Do nothing: the parent passed the signal on."""

    def _send(self, what: bytes) -> None:
        # Never block: a parent that hangs does not read, and must not stop the event loops of its workers.
        with suppress(BlockingIOError):
            os.write(self._pipe, what)


def usable_cores() -> int:
    """Return the number of usable cores: CPU affinity, limited by the container's quota rounded up."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = _CPU_QUOTA.read_text().split()
        return max(1, min(cores, -(-int(quota) // int(period))))
    except (OSError, ValueError):
        # No control group, or "max", which means no quota.
        return cores


@dataclass(slots=True)
class _Child:
    number: int
    pipe: int
    begun_at: float
    heard_at: float = 0.0
    is_ready: bool = False
    is_reloading: bool = False
    has_ended: bool = False

    def listen(self, now: float) -> None:
        """Read the reports that the worker has sent since the last call."""
        try:
            said = os.read(self.pipe, _SAID_BYTES_MAX)
        except BlockingIOError:
            return
        self.has_ended = not said
        if said:
            self.heard_at = now
        self.is_ready |= _READY in said
        self.is_reloading &= _RELOADED not in said


class Supervisor:
    """Keeps `count` workers alive. Create one per process and run it once, from the main thread.

    Args:
        start: body of a worker process; returns its exit code.
        count: number of workers.
        service: receives the status of the server as a whole.
        status: status text to report once all workers serve.
        drain_seconds: time that requests under way may take after a stop was requested.
        watchdog_seconds: time after which a silent worker is killed, if systemd sets no period.
        end_seconds: time after the drain at which a worker that has not ended is killed.
        on_end: called with the number of each worker that ended, before its successor starts.
        on_stop: called when a stop was requested, before the workers learn of it.
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
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_stop = on_stop
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
            0, or the exit code of a worker that failed before any worker served.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self._catch_signals()
        if self._start_first():
            for number in range(1, self._count):
                self._spawn(number)
        while self._children:
            for number in self._wait_for_signals(self._patience_seconds()):
                self._handle(number)
            self._listen()
            self._kill_late()
        return self._exit_code

    def _start_first(self) -> bool:
        """Start the first worker; return whether it may serve, so that the others can start.

        It fills the catalog before it serves; until then the others would serve an outdated index. They wait at most
        `_FIRST_SECONDS`. If it ends instead, none of them could serve either, and each would report the same reason.
        """
        first = self._spawn(0)
        select.select([first.pipe], [], [], _FIRST_SECONDS)
        first.listen(time.monotonic())
        return not first.has_ended

    def _catch_signals(self) -> None:
        """Write the numbers of received signals to a pipe.

        `signal.sigtimedwait` is not usable here: after SIGCONT, or when a frozen container resumes, it may return a
        signal that was never sent (CPython 3.11 does not check whether the timeout has expired).
        """
        for descriptor in (self._signals, self._signalled):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self._signalled, warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, lambda _number, _frame: None)

    def _wait_for_signals(self, seconds: float) -> bytes:
        """Return the numbers of the received signals; wait at most `seconds` for the first one."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        select.select([self._signals], [], [], seconds)
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            return os.read(self._signals, _SAID_BYTES_MAX)
        except BlockingIOError:
            return b""

    def _patience_seconds(self) -> float:
        """Return the maximum time to wait for a signal before the workers are polled again."""
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
            # This process itself was suspended, and perhaps the workers too: give them another period.
            for child in self._children.values():
                child.heard_at = now
        for process, child in self._children.items():
            if child.is_ready and not self._is_stopping and now - child.heard_at > period_seconds:
                _logger.error("worker %d does not respond, killing it", child.number)
                os.kill(process, signal.SIGKILL)
                child.heard_at = now

    def _kill_late(self) -> None:
        """Kill the workers that have not ended in time; a blocked worker does not handle its signal."""
        if time.monotonic() < self._kills_at:
            return
        self._kills_at = math.inf
        for process, child in self._children.items():
            _logger.error("worker %d did not stop in time, killing it", child.number)
            os.kill(process, signal.SIGKILL)

    def _spawn(self, number: int) -> _Child:
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        process = os.fork()
        if process == 0:
            reports = PipeReports(writing, beat_seconds=self._beat_seconds)
            self._become_worker(Worker(reports, number, lifeline=self._lifeline))
        os.close(writing)
        os.set_blocking(reading, False)
        child = self._children[process] = _Child(number, reading, time.monotonic())
        return child

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
            # Not sys.exit: this process must not run the cleanup of the parent's open resources and of its callers.
            os._exit(code)

    def _reap(self) -> None:
        # Several children may have ended for one signal.
        while self._children:
            process, status = os.waitpid(-1, os.WNOHANG)
            if process == 0:
                return
            self._note_end(self._children.pop(process), os.waitstatus_to_exitcode(status))

    def _note_end(self, child: _Child, code: int) -> None:
        for each in (child, *self._children.values()):
            each.listen(time.monotonic())
            self._has_served |= each.is_ready
        os.close(child.pipe)
        self._on_end(child.number)
        if self._is_stopping:
            return
        if not self._has_served:
            # No worker could start, and another attempt would fail too: the address, storage or configuration is wrong.
            self._exit_code = code if code > 0 else _FAILED
            self._stop()
            return
        _logger.error("worker %d exited with %d, starting a replacement", child.number, code)
        if time.monotonic() - child.begun_at < _RESTART_SECONDS:
            time.sleep(_RESTART_SECONDS)
        self._spawn(child.number)

    def _stop(self) -> None:
        if not self._is_stopping and self._children:
            _logger.info("stopping", extra={"drain_seconds": self._drain_seconds, "workers": len(self._children)})
            self._service.stopping(self._drain_seconds)
            self._kills_at = time.monotonic() + self._drain_seconds + self._end_seconds
            self._on_stop()
        self._is_stopping = True
        self._send(signal.SIGTERM)

    def _send(self, number: signal.Signals) -> None:
        for process in self._children:
            os.kill(process, number)
