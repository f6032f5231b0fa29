"""Command-line helpers shared by `export` and `import`."""

import sys
import time
from argparse import Namespace

from config.loader import Loaded, find_path, load
from entrypoints.progress import ProgressDisplay


def split_words(words: list[str]) -> tuple[str | None, list[str]]:
    """Split off a leading configuration file: a word that ends in `.yml` or `.yaml`."""
    if words and words[0].endswith((".yml", ".yaml")):
        return words[0], words[1:]
    return None, words


def load_words(arguments: Namespace) -> Loaded:
    """Load the configuration named in the words, or the default one.

    Raises:
        ConfigError: see `config.loader`.
    """
    file, _ = split_words(arguments.words)
    return load(find_path(file))


def new_display(arguments: Namespace) -> ProgressDisplay:
    """Return the progress display of the command."""
    return ProgressDisplay(sys.stderr, clock=time.monotonic, is_quiet=arguments.quiet)
