"""Colour on terminals."""

from enum import StrEnum
from typing import Final, TextIO

from config.loader import allows_colour

_RESET: Final = "\x1b[0m"


class Colour(StrEnum):
    """Colours, as the sequences that switch them on."""

    RED = "\x1b[31m"
    GREEN = "\x1b[32m"
    YELLOW = "\x1b[33m"


def paint(text: str, colour: Colour, stream: TextIO) -> str:
    """Return `text` in a colour if `stream` is a terminal that shows colours and NO_COLOR is unset; else `text`."""
    return f"{colour}{text}{_RESET}" if stream.isatty() and allows_colour() else text
