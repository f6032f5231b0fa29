"""Lookup of the programs for the end-to-end tests: Debian's, those of `make tools` in .cache/bin, and our uv."""

import os
import shutil
from pathlib import Path

REPOSITORY_ROOT = Path(__file__).resolve().parents[2]

# Our own pinned builds take precedence; Debian keeps servers in sbin, which is not in an ordinary user's PATH.
_CACHE = REPOSITORY_ROOT / ".cache"
_SEARCH_PATH = (str(_CACHE / "bin"), str(_CACHE / "uv" / "bin"), os.environ.get("PATH", ""), "/usr/sbin", "/sbin")


class ToolMissingError(Exception):
    """A program is not installed on this machine; the message contains the remedy."""


def find_tool(name: str) -> str:
    """Return the absolute path of a program.

    Raises:
        ToolMissingError: the program is not installed.
    """
    found = shutil.which(name, path=os.pathsep.join(_SEARCH_PATH))
    if found is None:
        raise ToolMissingError(f"{name} is not installed; `make tools` gets it (as root for Debian's packages)")
    return found


def find_distribution() -> str:
    """Return the absolute path of distribution 3, whose program has the name of ours.

    Raises:
        ToolMissingError: `make tools` has not built it.
    """
    program = _CACHE / "bin" / "registry"
    if not program.exists():
        raise ToolMissingError("distribution 3 is not installed; `make tools` builds it")
    return str(program)


def find_go() -> str:
    """Return the absolute path of Go's command.

    Raises:
        ToolMissingError: neither the machine nor `make tools` has it.
    """
    for program in (shutil.which("go"), "/usr/local/go/bin/go", _CACHE / "go" / "bin" / "go"):
        if program and os.access(program, os.X_OK):
            return str(program)
    raise ToolMissingError("Go is not installed; `make tools` gets it if this machine has none")


def is_installed(name: str) -> bool:
    """Whether a program is installed."""
    return shutil.which(name, path=os.pathsep.join(_SEARCH_PATH)) is not None
