"""The words of the command line before those of the command. Few imports: `entrypoints.cli` looks at them first."""

from collections.abc import Sequence
from typing import Final

CONFIG_OPTIONS: Final = ("-c", "--config")


def count_options(words: Sequence[str]) -> int:
    """Return the number of words before the command: `-c FILE` in any of its forms."""
    position = 0
    while position < len(words) and words[position].startswith(("-c", "--config")):
        position += 2 if words[position] in CONFIG_OPTIONS else 1
    return position
