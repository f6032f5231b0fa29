"""The command line of `registry`.

`registry config.yml` without a subcommand serves, as Sohu's registry did; distribution's `registry serve config.yml`
does the same. Errors are printed as lines on stderr, never as tracebacks; `exit_codes` lists the exit codes.
"""

import os
import sys
from argparse import Action, ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Final, NoReturn

from typing_extensions import override

from config.errors import ConfigError
from config.loader import PATH_UNSPECIFIED
from core.errors import RegistryError, StorageError
from entrypoints.commands import NAMES, find_command
from entrypoints.commands.auditing import run_audited
from entrypoints.exit_codes import ExitCode, exit_code_of

_DEFAULT: Final = "serve"


def run(argv: Sequence[str]) -> int:
    """Run the command and return its exit code; usage errors raise `SystemExit(2)`, as in argparse."""
    words = list(argv)
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    elif not words or (words[0] not in NAMES and not words[0].startswith("-")):
        words.insert(0, _DEFAULT)
    parser = _parser(words[:1] if words[0] in NAMES else NAMES)
    arguments = _parse(parser, words)
    try:
        code = int(run_audited(arguments.command, arguments, words))
        sys.stdout.flush()
    except ConfigError as error:
        for problem in error.problems:
            sys.stderr.write(f"configuration error: {problem}\n")
        if PATH_UNSPECIFIED in error.problems:
            parser.print_usage(sys.stderr)
        return exit_code_of(error)
    except (RegistryError, StorageError) as error:
        sys.stderr.write(f"registry: {error}\n")
        return exit_code_of(error)
    except BrokenPipeError:
        # The reader of the pipe (`| head`) is gone. Discard the buffered output, or the flush at exit fails too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILURE
    return code


def _parse(parser: ArgumentParser, words: Sequence[str]) -> Namespace:
    """Parse the arguments; the configuration file may come last, after the options.

    argparse treats an optional argument as absent when an option follows the arguments before it.
    """
    arguments, rest = parser.parse_known_args(words)
    if rest:
        if len(rest) > 1 or rest[0].startswith("-") or getattr(arguments, "file", "") is not None:
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        arguments.file = rest[0]
    return arguments


class _PrintVersion(Action):
    """Prints the version and exits, as argparse's own action, which needs the version whenever the parser is built."""

    @override
    def __call__(self, parser: ArgumentParser, *_others: object) -> NoReturn:
        # Imported here: reading the version takes a server's start 0.03 s.
        from config.version import DISTRIBUTION, installed_version  # noqa: PLC0415

        sys.stdout.write(f"registry {DISTRIBUTION} v{installed_version()}\n")
        parser.exit()


def _parser(names: Sequence[str]) -> ArgumentParser:
    """Return the parser of these commands; the modules of others are not imported."""
    parser = ArgumentParser(
        prog="registry",
        description="A container image registry.",
        epilog="`registry config.yml` starts the server; `registry help COMMAND` describes a command.",
        allow_abbrev=False,
    )
    parser.add_argument("-v", "--version", action=_PrintVersion, nargs=0, help="show program's version number and exit")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in map(find_command, names):
        subparser = commands.add_parser(command.name, help=command.help, description=command.help, allow_abbrev=False)
        command.add_arguments(subparser)
        subparser.set_defaults(command=command)
    return parser
