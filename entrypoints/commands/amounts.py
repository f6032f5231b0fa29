"""Numbers as people read them."""

from typing import Final

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_STEP: Final = 1024


def format_bytes(count: int) -> str:
    """Return a number of bytes with three or four digits and a unit: `0 B`, `1.50 GiB`, `1,023 MiB`."""
    value, unit = float(count), _UNITS[0]
    for unit in _UNITS:
        if value < _STEP or unit == _UNITS[-1]:
            break
        value /= _STEP
    if unit == _UNITS[0]:
        return f"{count} B"
    digits = 2 if value < 10 else 1 if value < 100 else 0  # noqa: PLR2004 - digits of a decimal number
    return f"{value:,.{digits}f} {unit}"


def plural(count: int, singular: str, plural_form: str = "") -> str:
    """Return a count with its noun: `1 tag`, `2 tags`, `3 repositories`."""
    noun = singular if count == 1 else plural_form or f"{singular}s"
    return f"{count:,} {noun}"
