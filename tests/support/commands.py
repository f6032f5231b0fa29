"""The command line of the registry, run in this process, because a process of its own imports for half a second."""

import io
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass

import pytest

from config.logging import ACCESS_LOGGER
from entrypoints.cli import main
from tests.support.processes import RegistryServer


@dataclass(frozen=True)
class Completed:
    """Result of a command, with the names of `subprocess.CompletedProcess`."""

    returncode: int
    stdout: str
    stderr: str


def run_registry(*words: str, environment: Mapping[str, str] | None = None) -> Completed:
    """Run `registry` with these arguments and additional environment variables, and return its output."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        logging_restored(),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        for name, value in (environment or {}).items():
            patch.setenv(name, value)
        code = main(words)
    return Completed(code, out.getvalue(), err.getvalue())


def run_beside(server: RegistryServer, *words: str) -> Completed:
    """Run `registry` beside a server, with its configuration and environment."""
    return run_registry(*words, str(server.config_path), environment=server.environment)


@contextmanager
def logging_restored() -> Iterator[None]:
    """Restore the handlers of both logs, because a command leaves handlers that write to its own streams."""
    loggers = (logging.getLogger(), logging.getLogger(ACCESS_LOGGER))
    before = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    try:
        yield
    finally:
        for logger, handlers, level, propagates in before:
            logger.handlers[:] = handlers
            logger.setLevel(level)
            logger.propagate = propagates
