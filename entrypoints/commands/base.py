"""Definition of a subcommand."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from config.loaded import Loaded
from config.loader import find_path, load
from entrypoints.commands.parser import add_config_option


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


def add_file_argument(parser: ArgumentParser, *, take_file: Callable[[Namespace], str | None] | None = None) -> None:
    """Add the optional path of the configuration file: `-c FILE` or a positional argument. `choose_file` sets `file`.

    Args:
        parser: parser of the command.
        take_file: removes the path from positional arguments that the command has added, and returns it. Without it,
            the path is a positional argument of its own, after those that were added before.
    """
    add_config_option(parser)
    if take_file is None:
        parser.add_argument("file", nargs="?", help="configuration file, as with -c")
    parser.set_defaults(take_file=take_file or attrgetter("file"))


def is_file_name(word: str) -> bool:
    """Whether a word among others names a configuration file."""
    return word.endswith((".yml", ".yaml"))


def choose_file(arguments: Namespace) -> None:
    """Set `arguments.file` to the path given with `-c` or as a positional argument, or to None.

    Raises:
        SystemExit: two different paths are given, or the command takes none.
    """
    option: str | None = getattr(arguments, "config_file", None)
    take_file: Callable[[Namespace], str | None] | None = getattr(arguments, "take_file", None)
    parser: ArgumentParser = arguments.parser
    if take_file is None:
        if option is not None:
            parser.error("the command takes no configuration file with -c")
        return
    word = take_file(arguments)
    if option and word and Path(option) != Path(word):
        parser.error(f"two configuration files are given: -c {option}, and {word}")
    arguments.file = option or word
