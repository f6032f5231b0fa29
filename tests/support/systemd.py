"""Simulation of systemd for a service: receives its notifications, and passes it an open socket."""

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.processes import SERVE_OUR_REGISTRY

WAIT_SECONDS = 60.0
_HANDOVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.set_inheritable(3, True)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
os.execv(sys.executable, [sys.executable, "-m", "entrypoints.cli", "serve", sys.argv[2]])
"""


class NotifySocket:
    """Socket of `NOTIFY_SOCKET`, and the received messages, in order."""

    def __init__(self, path: Path) -> None:
        self.environment = {"NOTIFY_SOCKET": str(path)}
        self.messages: list[dict[str, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def wait_for(self, wanted: Callable[[dict[str, str]], bool]) -> dict[str, str]:
        """Receive until a wanted message arrives, and return that message."""
        ends = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < ends:
            self._socket.settimeout(max(0.01, ends - time.monotonic()))
            message = dict(line.split("=", 1) for line in self._socket.recv(65536).decode().splitlines())
            self.messages.append(message)
            if wanted(message):
                return message
        raise TimeoutError(f"did not come: {self.messages}")

    def drain(self) -> list[dict[str, str]]:
        """Return and clear the received messages, without waiting."""
        self._socket.settimeout(0)
        while True:
            try:
                text = self._socket.recv(65536).decode()
            except BlockingIOError:
                taken, self.messages = self.messages, []
                return taken
            self.messages.append(dict(line.split("=", 1) for line in text.splitlines()))


def socket_activated(given: socket.socket) -> tuple[str, ...]:
    """Return a command that serves on a socket passed in the manner of systemd; append the configuration file.

    The function makes the socket inheritable.
    """
    os.set_inheritable(given.fileno(), True)  # noqa: FBT003 - the function accepts no keyword
    return (SERVE_OUR_REGISTRY[0], "-c", _HANDOVER, str(given.fileno()))
