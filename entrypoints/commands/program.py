"""The parser of the whole program, `registry`."""

import sys
from argparse import Action, ArgumentParser
from collections.abc import Sequence
from typing import Final, NoReturn

from typing_extensions import override

from entrypoints.commands import NAMES, find_command
from entrypoints.commands.parser import CommandParser

HELP: Final = "help"
"""`registry help COMMAND` is another form of `registry COMMAND --help`."""


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
    # For the list of commands and the completion only: the command line turns `help` into `--help`.
    helper = commands.add_parser(HELP, help="describe a command")
    helper.add_argument("name", nargs="?", choices=NAMES, metavar="COMMAND", help="the command")
    return parser
