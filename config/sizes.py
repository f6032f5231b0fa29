"""Sizes with a unit: `500GB`, `1.5TiB`, `10%`, or a bare number of bytes."""

import re
from fractions import Fraction
from typing import Final

from core.model.sizes import Bytes, Space

_PREFIXES: Final = "KMGTP"
_UNITS: Final = {
    "": 1,
    "B": 1,
    **{f"{prefix}B": 1000 ** (place + 1) for place, prefix in enumerate(_PREFIXES)},
    **{f"{prefix}iB": 1024 ** (place + 1) for place, prefix in enumerate(_PREFIXES)},
}
_FACTORS: Final = {unit.upper(): factor for unit, factor in _UNITS.items()}
_SIZE: Final = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,6})?) ?((?:[KMGTP]I?)?B|)", re.IGNORECASE)
_SHARE: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?) ?%")
_BYTES_MAX: Final = 2**60
_PERCENT_MAX: Final = 100.0


def parse_size(text: str) -> Bytes:
    """Return a size in bytes. `GB` are powers of 1000, `GiB` of 1024; upper and lower case are alike.

    Raises:
        ValueError: `text` is not a size, or more than 2^60 bytes.
    """
    found = _SIZE.fullmatch(text)
    size = -1 if found is None else round(Fraction(found[1]) * _FACTORS[found[2].upper()])
    if not 0 <= size <= _BYTES_MAX:
        raise ValueError("not a size")
    return Bytes(size)


def parse_space(text: str) -> Space:
    """Return an amount of space, which is a size or a percentage.

    Raises:
        ValueError: `text` is neither a size nor a percentage from 0 to 100.
    """
    if (found := _SHARE.fullmatch(text)) and float(found[1]) <= _PERCENT_MAX:
        return Space(percent=float(found[1]))
    return Space(bytes=parse_size(text))


def format_size(size: int) -> str:
    """Return a size in the notation of `parse_size`, exactly: `500GB`, `16MiB`, `1234`."""
    exact = [(factor, unit) for unit, factor in _UNITS.items() if unit != "B" and size % factor == 0]
    factor, unit = max(exact) if size else (1, "")
    return f"{size // factor}{unit}"


def format_space(space: Space) -> str:
    """Return an amount of space in the notation of `parse_space`."""
    return f"{space.percent:g}%" if space.percent else format_size(space.bytes)
