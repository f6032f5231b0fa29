"""Names of environment variables: which key each one sets, and for which of the configurations of a command."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from config.settings import StorageKind
from config.tree import KeyPath

PREFIX: Final = "REGISTRY_"
PATH_VARIABLE: Final = "REGISTRY_CONFIGURATION_PATH"
IGNORED: Final = frozenset({PATH_VARIABLE, "REGISTRY_VERSION"})
SEARCH_VARIABLES: Final = {
    "SEARCH_BACKEND": ("CATALOG", "BACKEND"),
    "SEARCH_BACKEND_MYSQL": ("CATALOG", "MYSQL", "DSN"),
}
"""The two variables of the registry that this one replaces; they take precedence over `REGISTRY_CATALOG_…`."""
FILE_SUFFIX: Final = "_FILE"
AUTHORITIES_VARIABLE: Final = "AWS_CA_BUNDLE"
"""Where the AWS SDKs, and so distribution, find the certificates of private authorities."""


class Side(StrEnum):
    """The two configurations of a copy, whose variables are `REGISTRY_FROM_…` and `REGISTRY_TO_…`."""

    FROM = "from"
    TO = "to"

    @property
    def prefix(self) -> str:
        """The prefix of the variables of this side."""
        return f"{PREFIX}{self.upper()}_"


def variables_of_side(environ: Mapping[str, str], side: Side, *, with_plain: bool) -> dict[str, str]:
    """Return the variables of one of two configurations, under the names for a single configuration.

    Args:
        environ: all variables.
        side: the configuration to load.
        with_plain: whether variables without a side apply to it; those of the side itself take precedence.
    """
    sides = tuple(each.prefix for each in Side)
    # The authorities are those of the machine, not of one configuration.
    plain = {
        name: value
        for name, value in environ.items()
        if not name.startswith(sides) and (with_plain or name == AUTHORITIES_VARIABLE)
    }
    own = {
        PREFIX + name.removeprefix(side.prefix): value
        for name, value in environ.items()
        if name.startswith(side.prefix)
    }
    return plain | own


def plain_variables(environ: Mapping[str, str]) -> list[str]:
    """Return the names of the configuration variables that belong to neither side, sorted."""
    sides = tuple(each.prefix for each in Side)
    return sorted(
        name
        for name in environ
        if (name.startswith(PREFIX) or name.removesuffix(FILE_SUFFIX) in SEARCH_VARIABLES)
        and not name.startswith(sides)
        and name not in IGNORED
    )


def selects_storage(environ: Mapping[str, str]) -> bool:
    """Whether variables select a storage driver: `REGISTRY_STORAGE`, or any key of a driver."""
    section = variable_of(("storage",))
    drivers = tuple(variable_of(("storage", kind)) for kind in StorageKind)
    beginnings = tuple(f"{driver}_" for driver in drivers)
    return any(
        value and (name == section or name in drivers or name.startswith(beginnings)) for name, value in environ.items()
    )


def variable_of(path: KeyPath) -> str:
    """Return the variable that sets a key."""
    components = tuple(str(step).upper() for step in path)
    own = next((name for name, target in SEARCH_VARIABLES.items() if target == components), None)
    return own or PREFIX + "_".join(components)
