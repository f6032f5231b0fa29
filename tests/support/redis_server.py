"""A private Redis for the tests: own port, own folder, killed and started again at will, and hung."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Final, Self

import redis

from tests.support.processes import free_port

_START_SECONDS_MAX: Final = 20.0


class RedisServer:
    """A server process without persistence; `start`, `kill`, `hang` and `wake` may follow each other.

    Args:
        program: redis-server.
        options: more of its options, as words.
        plain: whether it speaks without TLS.
        sentinel: what it watches, as lines of a sentinel's configuration; then it is a sentinel.
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
        """As `redis.addr` takes it."""
        return f"127.0.0.1:{self.port}"

    def client(self, **options: Any) -> "redis.Redis":
        """A client of the test's own."""
        return redis.Redis(port=self.port, decode_responses=True, socket_timeout=5, **options)

    def start(self) -> None:
        """Start it, empty, and return when it answers."""
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
        """End it by SIGKILL; what it held is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=10)
            self._process = None

    def hang(self) -> None:
        """Let it accept connections and answer nothing."""
        self._send(signal.SIGSTOP)

    def wake(self) -> None:
        """End that."""
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError("not running")
        os.kill(self._process.pid, number)

    def remove(self) -> None:
        """Kill it and remove its folder."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
