"""What a subcommand is."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A subcommand: its name, its line of help, its arguments, and what it does.

    `run` returns the exit code; it raises domain, storage and configuration errors, which the caller prints.
    """

    name: str
    help: str
    add_arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]


def add_file_argument(parser: ArgumentParser) -> None:
    """Add the optional path of the configuration file, as `arguments.file`."""
    parser.add_argument(
        "file",
        nargs="?",
        help="configuration file; else REGISTRY_CONFIGURATION_PATH, /etc/docker/registry/config.yml, "
        "/etc/distribution/config.yml",
    )
