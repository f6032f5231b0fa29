"""The version of the registry."""

from importlib.metadata import PackageNotFoundError, version
from typing import Final

DISTRIBUTION: Final = "sohu-registry"


def installed_version() -> str:
    """Return the version of the installed package; `unknown` if the sources run without installation."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"
