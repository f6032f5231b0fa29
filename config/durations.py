"""Durations in Go's notation, with days: `30d`, `1h30m`, `10s`, `1.5s`, or a bare number of nanoseconds."""

import re
from typing import Final

_UNITS: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86_400.0,
}
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h|d)")
_NANOSECONDS: Final = re.compile(r"[+-]?[0-9]{1,19}")
_SECONDS_MAX: Final = (2**63 - 1) / 1e9


def parse_duration(text: str) -> float:
    """Return a duration in seconds.

    Raises:
        ValueError: `text` is not a duration, or longer than Go's maximum of 292 years.
    """
    if _NANOSECONDS.fullmatch(text):
        return int(text) / 1e9
    sign, digits = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
    seconds, position = 0.0, 0
    for part in _PART.finditer(digits):
        if part.start() != position:
            break
        seconds += float(part[1]) * _UNITS[part[2]]
        position = part.end()
    if not digits or position != len(digits) or seconds > _SECONDS_MAX:
        raise ValueError("not a duration")
    return sign * seconds


def parse_span(text: str) -> float:
    """Return a duration above 0 with a unit, in seconds.

    Raises:
        ValueError: any other text. Distribution's files take a bare number as nanoseconds, which people never intend.
    """
    seconds = parse_duration(text)
    if text.isdecimal() or seconds <= 0:
        raise ValueError("must have a unit and be above 0")
    return seconds


def format_duration(seconds: float) -> str:
    """Return a duration in the notation of `parse_duration`: `168h`, `90s`, `0.25s`."""
    if seconds and seconds % 3600 == 0:
        return f"{seconds / 3600:.0f}h"
    if seconds and seconds % 60 == 0:
        return f"{seconds / 60:.0f}m"
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"
