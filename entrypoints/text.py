"""Human-readable numbers for the reports of commands."""

from typing import Final

_UNIT: Final = 1024


def plural(count: int, singular: str, plural_form: str = "") -> str:
    """Return a count with its noun: `1 tag`, `2 tags`, `3 repositories`."""
    noun = singular if count == 1 else plural_form or f"{singular}s"
    return f"{count:,} {noun}"


def format_bytes(size: int) -> str:
    """Return a number of bytes in a human-readable form: `1.5 GiB`."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < _UNIT:
            return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= _UNIT
    return f"{value:.1f} TiB"


def format_seconds(seconds: float) -> str:
    """Return a duration as `2:05` or `3:00:00`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
