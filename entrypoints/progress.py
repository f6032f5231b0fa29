"""Progress of a long job on stderr: one redrawn line on a terminal, occasional lines elsewhere."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TextIO

from entrypoints.text import format_bytes, format_seconds

_TERMINAL_SECONDS: Final = 0.2
_LOG_SECONDS: Final = 30.0
_WINDOW_SECONDS: Final = 20.0
"""Window over which the rate is averaged. A shorter one makes the rate jump; a longer one makes it stale."""
_BAR_WIDTH: Final = 24
_LINE_WIDTH: Final = 110
_ERASE: Final = "\r\x1b[K"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """Amount of work done, and the total."""

    done: int
    total: int | None = None
    """Estimated total, or None if unknown."""
    is_bytes: bool = True
    """Whether the amounts are bytes; otherwise they are counts of items."""


class ProgressDisplay:
    """Display of the progress of one job; cheap enough to call thousands of times a second.

    Args:
        stream: output, usually stderr.
        clock: returns seconds from an arbitrary start.
        is_quiet: hide progress; other lines are still printed.
    """

    def __init__(self, stream: TextIO, *, clock: Callable[[], float], is_quiet: bool = False) -> None:
        self._stream = stream
        self._clock = clock
        self._is_quiet = is_quiet
        self._is_terminal = stream.isatty()
        self._interval = _TERMINAL_SECONDS if self._is_terminal else _LOG_SECONDS
        self._drawn_at = clock()
        self._is_drawn = False
        self._samples: deque[tuple[float, int]] = deque([(self._drawn_at, 0)])

    def show(self, measure: Measure, text: str) -> None:
        """Show the progress and the current item, unless the last update was too recent."""
        now = self._clock()
        if self._is_quiet or now - self._drawn_at < self._interval:
            return
        self._drawn_at = now
        self._samples.append((now, measure.done))
        while len(self._samples) > 2 and now - self._samples[0][0] > _WINDOW_SECONDS:  # noqa: PLR2004 - a rate takes two
            self._samples.popleft()
        line = f"{describe(measure, self._rate())}  {text}"
        if self._is_terminal:
            self._stream.write(f"{_ERASE}{bar(measure)}{line}"[:_LINE_WIDTH])
            self._is_drawn = True
        else:
            self._stream.write(line + "\n")
        self._stream.flush()

    def line(self, text: str) -> None:
        """Write a permanent line above the progress line."""
        self.clear()
        self._stream.write(text + "\n")
        self._stream.flush()

    def clear(self) -> None:
        """Remove the progress line; call this at the end."""
        if self._is_drawn:
            self._stream.write(_ERASE)
            self._is_drawn = False

    def _rate(self) -> float:
        (began, before), (now, done) = self._samples[0], self._samples[-1]
        return max(0.0, (done - before) / (now - began)) if now > began else 0.0


def bar(measure: Measure) -> str:
    """Return a bar that shows the completed share, or an empty string if the total is unknown."""
    if not measure.total:
        return ""
    filled = round(_BAR_WIDTH * min(1.0, measure.done / measure.total))
    return f"[{'#' * filled}{'.' * (_BAR_WIDTH - filled)}] "


def describe(measure: Measure, rate: float) -> str:
    """Return the amount done, the rate and the estimated time left."""
    amount = format_bytes if measure.is_bytes else str
    said = [amount(measure.done)]
    if measure.total is not None:
        share = min(100, 100 * measure.done // measure.total) if measure.total else 100
        said = [f"{share:3d}%", f"{amount(measure.done)} of about {amount(measure.total)}"]
    said.append(f"{amount(round(rate))}/s")
    if measure.total is not None and rate > 0:
        said.append(f"{format_seconds(max(0, measure.total - measure.done) / rate)} left")
    return "  ".join(said)
