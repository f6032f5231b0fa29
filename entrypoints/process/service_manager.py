"""Status notifications to systemd (sd_notify(3)): ready, reloading, stopping, and watchdog beats."""

import logging
import socket
import time
from typing import Final, Protocol

from typing_extensions import override

_logger = logging.getLogger(__name__)

BEATS_PER_PERIOD: Final = 3
"""Beats per watchdog period; with several, one late beat does not trigger a restart."""
_STOP_MARGIN_SECONDS: Final = 10.0
"""Time that a stop may take beyond the drain: to close connections to the store and to end the workers."""


class Reports(Protocol):
    """Receiver of the status of a serving process."""

    @property
    def beat_seconds(self) -> float | None:
        """Interval in seconds between calls of `alive`; None disables them."""

    def ready(self, status: str) -> None:
        """Report that the process serves."""

    def reloading(self) -> None:
        """Report that a reload of the configuration has begun."""

    def reloaded(self) -> None:
        """Report that the reload is complete."""

    def alive(self) -> None:
        """Report that the event loop is not stuck."""

    def stopping(self, drain_seconds: float) -> None:
        """Report that the process stops, after requests under way finish or after `drain_seconds`."""


class ServiceManager(Reports):
    """Sends datagrams to systemd's notification socket, or nothing if there is none.

    Args:
        address: value of `NOTIFY_SOCKET`.
        watchdog_seconds: time without a beat after which systemd restarts the service; None means never.
    """

    def __init__(self, address: str | None, *, watchdog_seconds: float | None = None) -> None:
        self._address = f"\0{address[1:]}" if address and address.startswith("@") else address
        self._status = ""
        self.watchdog_seconds = watchdog_seconds if address else None

    @property
    def listens(self) -> bool:
        """Whether a notification socket is configured."""
        return self._address is not None

    @property
    @override
    def beat_seconds(self) -> float | None:
        return self.watchdog_seconds / BEATS_PER_PERIOD if self.watchdog_seconds else None

    @override
    def ready(self, status: str) -> None:
        self._status = status
        self._send("READY=1", f"STATUS={status}")

    @override
    def reloading(self) -> None:
        # Type=notify-reload requires a timestamp: systemd waits for a message that is newer than its signal.
        now_microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now_microseconds}", "STATUS=reloading")

    @override
    def reloaded(self) -> None:
        self.ready(self._status)

    @override
    def alive(self) -> None:
        # Do not wait: the next beat follows soon, and the supervisor must not block on systemd.
        self._send("WATCHDOG=1", patience_seconds=0.0)

    @override
    def stopping(self, drain_seconds: float) -> None:
        within_microseconds = int((drain_seconds + _STOP_MARGIN_SECONDS) * 1e6)
        self._send(
            "STOPPING=1",
            f"STATUS=waiting at most {drain_seconds:g} s for requests in progress",
            f"EXTEND_TIMEOUT_USEC={within_microseconds}",
        )

    def _send(self, *lines: str, patience_seconds: float = 1.0) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.settimeout(patience_seconds)
                sock.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            # Serving matters more than reporting the status.
            _logger.warning("cannot notify systemd of %s: %s", lines[0], error.strerror or error)


NOBODY: Final = ServiceManager(None)
"""Service manager for a process that systemd did not start; reports go nowhere."""
