"""The command line of `registry`.

`registry config.yml` without a subcommand serves, as Sohu's registry did; distribution's `registry serve config.yml`
does the same. Errors are printed as lines on stderr, never as tracebacks; `exit_codes` lists the exit codes.
"""

import os
import sys
from argparse import Action, ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

from typing_extensions import override

from config.errors import ConfigError
from config.loader import PATH_UNSPECIFIED
from config.tree import printable
from config.typos import nearest
from core.errors import RegistryError, StorageError
from entrypoints.colour import Colour, paint
from entrypoints.commands import NAMES, find_command
from entrypoints.commands.auditing import run_audited
from entrypoints.commands.base import choose_file, is_file_name
from entrypoints.commands.parser import CONFIG_OPTIONS, CommandParser
from entrypoints.exit_codes import ExitCode, exit_code_of

_DEFAULT: Final = "serve"
_HELP: Final = "help"


def run(argv: Sequence[str]) -> int:
    """Run the command and return its exit code; usage errors raise `SystemExit(2)`, as in argparse."""
    words, name = _with_command(list(argv))
    arguments = make_parser(NAMES if name is None else [name]).parse_args(words)
    choose_file(arguments)
    try:
        code = int(run_audited(arguments.command, arguments, words))
        sys.stdout.flush()
    except ConfigError as error:
        for problem in error.problems:
            _print_error("configuration error:", problem)
        if PATH_UNSPECIFIED in error.problems:
            arguments.parser.print_usage(sys.stderr)
        return exit_code_of(error)
    except (RegistryError, StorageError) as error:
        _print_error("registry:", str(error))
        return exit_code_of(error)
    except BrokenPipeError:
        # The reader of the pipe (`| head`) is gone. Discard the buffered output, or the flush at exit fails too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILURE
    return code


def _print_error(label: str, text: str) -> None:
    sys.stderr.write(f"{paint(label, Colour.RED, sys.stderr)} {text}\n")


def _with_command(words: list[str]) -> tuple[list[str], str | None]:
    """Return the words with a command, and the command; None if an option stands in its place.

    Raises:
        SystemExit: there is no such command.
    """
    position = _count_options(words)
    if words[position : position + 1] == [_HELP]:
        words, position = [*words[position + 1 :], "--help"], 0
    elif position == len(words) or (position < len(words) and _is_path(words[position])):
        words.insert(position, _DEFAULT)
    word = next(iter(words[position:]), "-")
    if word.startswith("-"):
        return words, None
    if word not in NAMES:
        _refuse(word)
    return words, word


def _count_options(words: Sequence[str]) -> int:
    """Return the number of words before the command: `-c FILE` in any of its forms."""
    position = 0
    while position < len(words) and words[position].startswith(("-c", "--config")):
        position += 2 if words[position] in CONFIG_OPTIONS else 1
    return position


def _is_path(word: str) -> bool:
    """Whether a word in the place of a command is a configuration file."""
    if word in NAMES or word.startswith("-"):
        return False
    return "/" in word or is_file_name(word) or Path(word).is_file()


def _refuse(word: str) -> NoReturn:
    meant = nearest(word, [*NAMES, _HELP, "--version"])
    hint = f"; did you mean `{meant}`?" if meant else ""
    make_parser([]).error(f"unknown command `{printable(word)}`{hint}\ncommands: {', '.join([*NAMES, _HELP])}")


class _PrintVersion(Action):
    """Prints the version and exits, as argparse's own action, which needs the version whenever the parser is built."""

    @override
    def __call__(self, parser: ArgumentParser, *_others: object) -> NoReturn:
        # Imported here: reading the version takes a server's start 0.03 s.
        from config.version import DISTRIBUTION, installed_version  # noqa: PLC0415

        sys.stdout.write(f"registry {DISTRIBUTION} v{installed_version()}\n")
        parser.exit()


def make_parser(names: Sequence[str]) -> CommandParser:
    """Return the parser of these commands; the modules of others are not imported."""
    parser = CommandParser(
        prog="registry",
        description="A container image registry.",
        epilog="`registry config.yml` starts the server; `registry help COMMAND` describes a command.",
    )
    parser.add_argument("-v", "--version", action=_PrintVersion, nargs=0, help="show program's version number and exit")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in map(find_command, names):
        subparser = commands.add_parser(command.name, help=command.help, description=command.help)
        command.add_arguments(subparser)
        subparser.set_defaults(command=command)
    return parser
