"""The subcommands of `registry`, one module each. A run imports only the module of its own command."""

from importlib import import_module
from typing import Final

from entrypoints.commands.base import Command

_MODULES: Final = (
    "serve",
    "config",
    "cache",
    "catalog",
    "garbage_collect",
    "copy",
    "doctor",
    "export",
    "import_",
    "mirror",
    "repository",
    "retention",
    "tags",
    "search",
    "trash",
    "usage",
    "users",
    "keys",
    "verify",
    "readonly",
    "notifications",
    "completion",
)

NAMES: Final = tuple(module.rstrip("_").replace("_", "-") for module in _MODULES)
"""The names of all commands, in the order of the help. The command `garbage-collect` is the constant `GARBAGE_COLLECT`
of the module `garbage_collect`."""


def find_command(name: str) -> Command:
    """Import the module of a command, and return the command."""
    module = import_module(f"{__name__}.{_MODULES[NAMES.index(name)]}")
    command: Command = getattr(module, name.replace("-", "_").upper())
    return command
