"""Servers of ours as forks of one process that has imported the product: a start costs a third of the processor time.

A fork is a process of its own. It gets a session, an environment, a folder and a log, and then runs the same function
as `python -m entrypoints.cli`; only imports that every server makes are done before. `ServerProcess` starts servers in
this way, except those with another command, with descriptors, or with variables that may change the interpreter or
the imports.

    python -m tests.support.server_template DESCRIPTOR
"""

import atexit
import gc
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.tools import REPOSITORY_ROOT

_POLL_SECONDS = 0.02


class Fork:
    """Process that the template forked, with the part of the interface of `subprocess.Popen` that tests use."""

    def __init__(self, pid: int, ask: Callable[..., Any]) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ask = ask

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while the process is running."""
        if self.returncode is None:
            self.returncode = self._ask(pid=self.pid)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, and return the exit code."""
        ends_at = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if ends_at is not None and time.monotonic() > ends_at:
                raise subprocess.TimeoutExpired(f"fork {self.pid}", timeout or 0)
            time.sleep(_POLL_SECONDS)
        return code


class Template:
    """The process that forks, and the connection to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "tests.support.server_template", str(theirs.fileno())]
            self._process = subprocess.Popen(
                command,
                cwd=REPOSITORY_ROOT,
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                # A key that interrupts the tests must not end servers before their tests do.
                start_new_session=True,
            )
        self._answers = self._socket.makefile("r")
        atexit.register(self.close)

    def close(self) -> None:
        """End the template. Servers that it started continue."""
        self._answers.close()
        self._socket.close()
        self._process.wait(10)

    def start(self, words: Sequence[str], *, environment: Mapping[str, str], folder: Path, log: Path) -> Fork:
        """Run `registry` with these arguments, output to `log`."""
        pid = self._ask(words=list(words), environment=dict(environment), folder=str(folder), log=str(log))
        return Fork(pid, self._ask)

    def _ask(self, **request: Any) -> Any:
        with self._lock:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            return json.loads(self._answers.readline())


@cache
def template() -> Template:
    """Return the template of this process of the tests."""
    return Template()


def _serve(connection: socket.socket) -> Callable[[], int] | None:
    """Answer requests; return the function that a fork has to run, and None at the end of the tests."""
    with connection, connection.makefile("r") as requests:
        for line in requests:
            request = json.loads(line)
            answer = _exit_code(request["pid"]) if "pid" in request else os.fork()
            if answer == 0 and "words" in request:
                return lambda: _run(**request)
            connection.sendall(json.dumps(answer).encode() + b"\n")
    return None


def _exit_code(pid: int) -> int | None:
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def _run(words: Sequence[str], environment: Mapping[str, str], folder: str, log: str) -> int:
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.close(output)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(folder)
    from entrypoints.cli import main  # noqa: PLC0415 - was imported before the fork

    return main(words)


def _import_the_product() -> None:
    gc.disable()
    # The modules that every server imports. Parts that settings choose are imported after the fork, as in a server.
    import entrypoints.cli  # noqa: PLC0415
    from config.late_patterns import patterns_compiled_late  # noqa: PLC0415
    from entrypoints.start.late_client import import_client_late  # noqa: PLC0415
    from entrypoints.start.late_methods import compile_methods_late  # noqa: PLC0415

    compile_methods_late()
    import_client_late()
    with patterns_compiled_late():
        import entrypoints.command_line  # noqa: PLC0415
        import entrypoints.commands.serve  # noqa: PLC0415
        import entrypoints.process.server  # noqa: F401, PLC0415

    gc.freeze()
    gc.enable()


if __name__ == "__main__":
    _import_the_product()
    if (work := _serve(socket.socket(fileno=int(sys.argv[1])))) is not None:
        sys.exit(work())
