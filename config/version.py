"""The version of the registry."""

from typing import Final

DISTRIBUTION: Final = "sohu-registry"


def installed_version() -> str:
    """Return the version of the installed package; `unknown` if the sources run without installation."""
    # Imported here, with its readers of mails and archives: a server without metrics and traces needs no version.
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"
