"""Parsers of the command line: options may stand anywhere, and errors show the usage of the command that failed."""

import sys
from argparse import SUPPRESS, Action, ArgumentParser, Namespace
from collections.abc import Iterable, Sequence
from typing import Any, Final, NoReturn

from typing_extensions import override

from entrypoints.colour import Colour, paint
from entrypoints.exit_codes import ExitCode
from entrypoints.words import CONFIG_OPTIONS

FILES: Final = {
    "bash": "_shtab_compgen_files",
    "zsh": "_files",
    "fish": "(__fish_complete_path (commandline -ct))",
}
"""shtab.FILE, by which a shell completes the name of a file. To import shtab takes each start 5 ms."""
_DEFAULTS: Final = "REGISTRY_CONFIGURATION_PATH, /etc/docker/registry/config.yml, /etc/distribution/config.yml"


def add_config_option(parser: ArgumentParser) -> None:
    """Add `-c/--config FILE`. Parsers with subcommands accept it too, so it has no default that hides theirs."""
    parser.add_argument(
        *CONFIG_OPTIONS,
        dest="config_file",
        metavar="FILE",
        default=SUPPRESS,
        help=f"configuration file (default: {_DEFAULTS}; with the storage in variables, none is needed)",
    )


class CommandParser(ArgumentParser):
    """Parser of `registry` or of one subcommand. The result has the parser of the innermost subcommand as `parser`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **options})
        self._has_subcommands = False
        self._is_mixing = False

    @override
    def add_subparsers(self, **options: Any) -> Any:
        self._has_subcommands = True
        add_config_option(self)
        return super().add_subparsers(**options)

    @override
    def add_argument(self, *names: Any, **options: Any) -> Action:
        action = super().add_argument(*names, **options)
        if "file" in names or "FILE" in str(action.metavar):
            action.complete = FILES  # type: ignore[attr-defined]  # shtab reads it
        return action

    @override
    def parse_known_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:
        words = sys.argv[1:] if args is None else list(args)
        # Up to Python 3.12, intermixed parsing calls this method, and loses the meaning of `--`.
        if self._is_mixing:
            return super().parse_known_args(words, namespace)
        if self._has_subcommands or "--" in words:
            result, unknown = super().parse_known_args(words, namespace)
        else:
            result, unknown = self._mixed(words, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        if not hasattr(result, "parser"):
            result.parser = self
        return result, []

    def _mixed(self, words: Sequence[str], namespace: Namespace | None) -> tuple[Namespace, list[str]]:
        self._is_mixing = True
        try:
            return self.parse_known_intermixed_args(words, namespace)
        finally:
            self._is_mixing = False

    @override
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(ExitCode.USAGE, f"{self.prog}: {paint('error:', Colour.RED, sys.stderr)} {message}\n")
