"""What `export` and `import` share of their command lines."""

import sys
import time
from argparse import Namespace

from config.loader import Loaded, find_path, load
from entrypoints.progress import ProgressDisplay


def split_words(words: list[str]) -> tuple[str | None, list[str]]:
    """Take the configuration file off the words, if they begin with one: a name that ends in `.yml` or `.yaml`."""
    if words and words[0].endswith((".yml", ".yaml")):
        return words[0], words[1:]
    return None, words


def load_words(arguments: Namespace) -> Loaded:
    """Load the configuration that the words name, or the one that is found without it.

    Raises:
        ConfigError: see `config.loader`.
    """
    file, _ = split_words(arguments.words)
    return load(find_path(file))


def new_display(arguments: Namespace) -> ProgressDisplay:
    """Return where the progress of the command is shown."""
    return ProgressDisplay(sys.stderr, clock=time.monotonic, is_quiet=arguments.quiet)
