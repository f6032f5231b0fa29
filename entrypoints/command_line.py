"""The command line of `registry`.

`registry config.yml` without a subcommand serves, as Sohu's registry did; distribution's `registry serve config.yml`
does the same. Errors are printed as lines on stderr, never as tracebacks; `exit_codes` lists the exit codes.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

from config.errors import ConfigError
from config.loader import PATH_UNSPECIFIED
from config.tree import printable
from config.typos import nearest
from core.errors import RegistryError, StorageError
from entrypoints.colour import Colour, paint
from entrypoints.commands import NAMES
from entrypoints.commands.auditing import run_audited
from entrypoints.commands.base import choose_file, is_file_name
from entrypoints.commands.program import HELP, make_parser
from entrypoints.exit_codes import ExitCode, exit_code_of
from entrypoints.priority import apply_priority
from entrypoints.words import count_options

_DEFAULT: Final = "serve"
_VERSION: Final = (["-v"], ["--version"])


def run(argv: Sequence[str], *, is_process: bool = False) -> int:
    """Run the command and return its exit code; usage errors raise `SystemExit(2)`, as in argparse.

    Args:
        argv: the words of the command.
        is_process: whether the process does nothing but run the command, so that it may get the command's priority.
    """
    words, name = _with_command(list(argv))
    # The help lists all commands, and imports their modules for it; the version needs none.
    names = [name] if name else () if words[:1] in _VERSION else NAMES
    arguments = make_parser(names).parse_args(words)
    choose_file(arguments)
    if is_process:
        apply_priority(arguments)
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
    position = count_options(words)
    if words[position : position + 1] == [HELP]:
        words, position = [*words[position + 1 :], "--help"], 0
    elif position == len(words) or (position < len(words) and _is_path(words[position])):
        words.insert(position, _DEFAULT)
    word = next(iter(words[position:]), "-")
    if word.startswith("-"):
        return words, None
    if word not in NAMES:
        _refuse(word)
    return words, word


def _is_path(word: str) -> bool:
    """Whether a word in the place of a command is a configuration file."""
    if word in NAMES or word.startswith("-"):
        return False
    return "/" in word or is_file_name(word) or Path(word).is_file()


def _refuse(word: str) -> NoReturn:
    meant = nearest(word, [*NAMES, HELP, "--version"])
    hint = f"; did you mean `{meant}`?" if meant else ""
    make_parser([]).error(f"unknown command `{printable(word)}`{hint}\ncommands: {', '.join([*NAMES, HELP])}")
