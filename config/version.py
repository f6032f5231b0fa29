"""Which version of the registry this is."""

from importlib.metadata import PackageNotFoundError, version
from typing import Final

DISTRIBUTION: Final = "sohu-registry"


def installed_version() -> str:
    """Return the version of the installed package; `unknown` where the sources run without being installed."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"
