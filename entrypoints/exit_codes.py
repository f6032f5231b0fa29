"""Exit codes of the `registry` command: one table from errors to codes."""

from enum import IntEnum
from typing import Final

from config.errors import ConfigError
from core.errors import RegistryError, StorageError, UnknownError


class ExitCode(IntEnum):
    """Exit codes. Scripts rely on them."""

    OK = 0
    FAILURE = 1
    """Invalid configuration, or any error without a code of its own."""
    USAGE = 2
    NOT_FOUND = 3
    STORAGE = 4
    DAMAGE = 5
    """A check found damage that needs an operator."""
    REPAIRED = 6
    """A check found damage and repaired all of it."""


_CODES: Final[dict[type[BaseException], ExitCode]] = {
    ConfigError: ExitCode.FAILURE,
    RegistryError: ExitCode.FAILURE,
    UnknownError: ExitCode.NOT_FOUND,
    StorageError: ExitCode.STORAGE,
}


def exit_code_of(error: BaseException) -> ExitCode:
    """Return the code of the nearest class in the MRO of `error` that has one."""
    return next((_CODES[cls] for cls in type(error).__mro__ if cls in _CODES), ExitCode.FAILURE)
