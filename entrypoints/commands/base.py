"""Definition of a subcommand."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass

from config.loader import Loaded, find_path, load


def load_file(arguments: Namespace) -> Loaded:
    """Load the configuration file named by the argument of `add_file_argument`, or the default one.

    Raises:
        ConfigError: see `config.loader`.
    """
    return load(find_path(arguments.file))


def changes_nothing(_arguments: Namespace) -> bool:
    """Return False: the command changes nothing."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Subcommand: name, help line, arguments and action.

    `run` returns the exit code; it raises domain, storage and configuration errors, which the caller prints.
    """

    name: str
    help: str
    add_arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]
    changes: Callable[[Namespace], bool] = changes_nothing
    """Whether the command changes the content or the operation of the registry; such runs are audited."""
    load: Callable[[Namespace], Loaded] = load_file
    """Loads the configuration of the registry that is changed."""


def add_file_argument(parser: ArgumentParser) -> None:
    """Add the optional path of the configuration file as `arguments.file`."""
    parser.add_argument(
        "file",
        nargs="?",
        help="configuration file (default: REGISTRY_CONFIGURATION_PATH, /etc/docker/registry/config.yml, "
        "/etc/distribution/config.yml)",
    )
