"""A configuration that another process reads, while this one imports what serves it.

To read a configuration takes a tenth of a start, mostly to import marshmallow, YAML and the schema. The server itself
needs none of these modules before a reload, so they would also stay in its memory.
"""

import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn

from config.errors import ConfigError
from config.loaded import Loaded

_UNANSWERED: Final = 1


class LoadingBeside:
    """A configuration that a child process reads from now on. Create it before this process starts threads.

    Args:
        load: reads the configuration, or raises `ConfigError`.
    """

    def __init__(self, load: Callable[[], Loaded]) -> None:
        self._load = load
        self._answer, writing = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            os.close(self._answer)
            _answer(load, writing)
        os.close(writing)

    def result(self) -> Loaded:
        """Return the configuration; call this once.

        Raises:
            ConfigError: the configuration is invalid.
        """
        with os.fdopen(self._answer, "rb") as file:
            answer = file.read()
        status = _UNANSWERED
        # A process whose parent ignores SIGCHLD cannot get the status of its own children.
        with suppress(ChildProcessError):
            _, status = os.waitpid(self._child, 0)
        if status:
            # The child was killed, or found a defect, which this process finds too.
            return self._load()
        loaded: Loaded | None
        loaded, problems = pickle.loads(answer)  # noqa: S301 - as above
        if loaded is None:
            raise ConfigError(problems)
        return loaded


def _answer(load: Callable[[], Loaded], pipe: int) -> NoReturn:
    status = _UNANSWERED
    try:
        with os.fdopen(pipe, "wb") as file:
            pickle.dump(_result_of(load), file, pickle.HIGHEST_PROTOCOL)
        status = 0
    finally:
        # Not sys.exit: the child must not run the cleanup of its parent.
        os._exit(status)


def _result_of(load: Callable[[], Loaded]) -> tuple[Loaded | None, tuple[str, ...]]:
    try:
        return load(), ()
    except ConfigError as error:
        return None, error.problems
