"""Private Redis server for tests, with its own port and folder, which can be killed, restarted and suspended."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Final, Self

import redis

from tests.support.ports import free_port

_START_SECONDS_MAX: Final = 60.0


class RedisServer:
    """Server process without persistence; `start`, `kill`, `hang` and `wake` can be called repeatedly.

    Args:
        program: path of redis-server.
        options: additional options, as words.
        plain: whether to listen without TLS.
        sentinel: lines of a sentinel's configuration; if given, the process is a sentinel.
    """

    def __init__(self, program: str, *options: str, plain: bool = True, sentinel: str = "") -> None:
        self._program = program
        self._options = options
        self._folder = Path(tempfile.mkdtemp(prefix="redis-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._plain = plain
        self._sentinel = sentinel
        self.port = free_port()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    @property
    def address(self) -> str:
        """Address as in `redis.addr`."""
        return f"127.0.0.1:{self.port}"

    def client(self, **options: Any) -> "redis.Redis":
        """Return a client for the test."""
        return redis.Redis(port=self.port, decode_responses=True, socket_timeout=60, **options)

    def start(self) -> None:
        """Start the server, empty, and return when it answers."""
        ports = ["--port", str(self.port)] if self._plain else ["--port", "0", "--tls-port", str(self.port)]
        command = [self._program, "--bind", "127.0.0.1", "--dir", str(self._folder), *ports, *self._options]
        if self._sentinel:
            configuration = self._folder / "sentinel.conf"
            configuration.write_text(self._sentinel)
            command[1:1] = [str(configuration), "--sentinel"]
        else:
            command += ["--save", "", "--appendonly", "no"]
        log = (self._folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + _START_SECONDS_MAX
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"redis-server does not answer: {(self._folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        if not self._plain:
            return "Ready to accept" in (self._folder / "log").read_text()
        try:
            with redis.Redis(port=self.port, socket_timeout=1) as probe:
                probe.ping()
        except redis.AuthenticationError:
            return True
        except (redis.RedisError, OSError):
            return False
        return True

    def kill(self) -> None:
        """End the server by SIGKILL; its data is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=10)
            self._process = None

    def hang(self) -> None:
        """Suspend the server: it accepts connections and answers nothing."""
        self._send(signal.SIGSTOP)

    def wake(self) -> None:
        """Resume the server after `hang`."""
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError("not running")
        os.kill(self._process.pid, number)

    def remove(self) -> None:
        """Kill the server and remove its folder."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
