"""What a subcommand is."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass

from config.loader import Loaded, find_path, load


def load_file(arguments: Namespace) -> Loaded:
    """Load the configuration file that `add_file_argument` adds, or the one that is found without it.

    Raises:
        ConfigError: see `config.loader`.
    """
    return load(find_path(arguments.file))


def changes_nothing(_arguments: Namespace) -> bool:
    """Say no."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A subcommand: its name, its line of help, its arguments, and what it does.

    `run` returns the exit code; it raises domain, storage and configuration errors, which the caller prints.
    """

    name: str
    help: str
    add_arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]
    changes: Callable[[Namespace], bool] = changes_nothing
    """Whether it changes what the registry holds or does with these arguments: then the audit log is told."""
    load: Callable[[Namespace], Loaded] = load_file
    """Loads the configuration of the registry that is changed."""


def add_file_argument(parser: ArgumentParser) -> None:
    """Add the optional path of the configuration file, as `arguments.file`."""
    parser.add_argument(
        "file",
        nargs="?",
        help="configuration file; else REGISTRY_CONFIGURATION_PATH, /etc/docker/registry/config.yml, "
        "/etc/distribution/config.yml",
    )
