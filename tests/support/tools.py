"""Finds the programs that the end-to-end tests drive: Debian's, those of `make tools` in .cache/bin, and our uv."""

import os
import shutil
from pathlib import Path

REPOSITORY_ROOT = Path(__file__).resolve().parents[2]

# Our own pinned builds come first; Debian keeps servers in sbin, which an ordinary user's PATH lacks.
_CACHE = REPOSITORY_ROOT / ".cache"
_SEARCH_PATH = (str(_CACHE / "bin"), str(_CACHE / "uv" / "bin"), os.environ.get("PATH", ""), "/usr/sbin", "/sbin")


class ToolMissingError(Exception):
    """A program is not on this machine; the message says how to get it."""


def find_tool(name: str) -> str:
    """Return the absolute path of a program.

    Raises:
        ToolMissingError: It is not installed.
    """
    found = shutil.which(name, path=os.pathsep.join(_SEARCH_PATH))
    if found is None:
        raise ToolMissingError(f"{name} is not installed; `make tools` gets it (as root for Debian's packages)")
    return found
