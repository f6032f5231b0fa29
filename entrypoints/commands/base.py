"""What a subcommand is."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass


def file_argument(arguments: Namespace) -> str | None:
    """Return the path of the configuration file that `add_file_argument` adds, if it was given."""
    path: str | None = arguments.file
    return path


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
    file: Callable[[Namespace], str | None] = file_argument
    """The configuration file whose registry is changed, if it was given."""


def add_file_argument(parser: ArgumentParser) -> None:
    """Add the optional path of the configuration file, as `arguments.file`."""
    parser.add_argument(
        "file",
        nargs="?",
        help="configuration file; else REGISTRY_CONFIGURATION_PATH, /etc/docker/registry/config.yml, "
        "/etc/distribution/config.yml",
    )
