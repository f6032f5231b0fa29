"""What systemd is told of this service (sd_notify(3)): it serves, it reloads, it stops, it is not stuck."""

import logging
import socket
import time
from typing import Final, Protocol

from typing_extensions import override

_logger = logging.getLogger(__name__)

BEATS_PER_PERIOD: Final = 3
"""How often a process says within the watchdog's period that it is not stuck, so that one late beat is no alarm."""
_STOP_MARGIN_SECONDS: Final = 10.0
"""What a stop may take beside waiting for requests: closing connections to the store, ending workers."""


class Reports(Protocol):
    """Whom a process that serves tells how it fares."""

    @property
    def beat_seconds(self) -> float | None:
        """How often `alive` wants to be called; None is not at all."""

    def ready(self, status: str) -> None:
        """It serves."""

    def reloading(self) -> None:
        """It reads its configuration anew."""

    def reloaded(self) -> None:
        """It has read it."""

    def alive(self) -> None:
        """It is not stuck."""

    def stopping(self, drain_seconds: float) -> None:
        """It ends, once requests under way have, or after so long."""


class ServiceManager(Reports):
    """Sends datagrams to the socket that systemd listens at; nowhere if there is none.

    Args:
        address: `NOTIFY_SOCKET`.
        watchdog_seconds: after how long a silent service is restarted; None is never.
    """

    def __init__(self, address: str | None, *, watchdog_seconds: float | None = None) -> None:
        self._address = f"\0{address[1:]}" if address and address.startswith("@") else address
        self._status = ""
        self.watchdog_seconds = watchdog_seconds if address else None

    @property
    def listens(self) -> bool:
        """Whether anybody is told anything."""
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
        # The clock is for Type=notify-reload, which waits for a message that is younger than its signal.
        now_microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now_microseconds}", "STATUS=reloading")

    @override
    def reloaded(self) -> None:
        self.ready(self._status)

    @override
    def alive(self) -> None:
        # The next one follows soon, and a supervisor that waits for systemd supervises nobody.
        self._send("WATCHDOG=1", patience_seconds=0.0)

    @override
    def stopping(self, drain_seconds: float) -> None:
        within_microseconds = int((drain_seconds + _STOP_MARGIN_SECONDS) * 1e6)
        self._send(
            "STOPPING=1",
            f"STATUS=waiting at most {drain_seconds:g} s for requests under way",
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
            # A service that serves is worth more than one that is known to.
            _logger.warning("systemd could not be told %s: %s", lines[0], error.strerror or error)


NOBODY: Final = ServiceManager(None)
"""Where no systemd waits for word."""
