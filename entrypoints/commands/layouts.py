"""Command-line helpers shared by `export` and `import`."""

import sys
import time
from argparse import ArgumentParser, Namespace

from entrypoints.commands.base import is_file_name
from entrypoints.progress import ProgressDisplay


def take_file(arguments: Namespace) -> str | None:
    """Remove the configuration file, the first or the last word, from `arguments.words` and return it, if it is there.

    Raises:
        SystemExit: both words are configuration files.
    """
    words: list[str] = arguments.words
    ends = [0, -1] if len(words) > 1 else [0]
    found = [words[end] for end in ends if is_file_name(words[end])]
    if len(found) > 1:
        parser: ArgumentParser = arguments.parser
        parser.error(f"two configuration files are given: {found[0]}, and {found[1]}")
    if found:
        words.remove(found[0])
    return found[0] if found else None


def new_display(arguments: Namespace) -> ProgressDisplay:
    """Return the progress display of the command."""
    return ProgressDisplay(sys.stderr, clock=time.monotonic, is_quiet=arguments.quiet)
