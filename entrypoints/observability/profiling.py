"""A profile of the event loop, taken while the registry serves.

Only the thread of the event loop is measured: it is the one whose time every request shares. Names of functions and
files come out, never a value.
"""

import asyncio
import cProfile
import io
import marshal
import pstats
from typing import Any, Final

SECONDS_MAX: Final = 120.0
LINES_MAX: Final = 80


class ProfilerBusyError(Exception):
    """A profile is being taken; the interpreter can take one at a time."""


class Profiler:
    """Takes profiles of the calling thread; one per process."""

    def __init__(self) -> None:
        self._is_busy = False

    async def profile(self, seconds: float) -> cProfile.Profile:
        """Measure for so long what the event loop does. Meanwhile every call in it costs more, about a third.

        Raises:
            ProfilerBusyError: somebody else is measuring.
        """
        if self._is_busy:
            raise ProfilerBusyError
        self._is_busy = True
        profile = cProfile.Profile()
        try:
            profile.enable()
            try:
                await asyncio.sleep(min(seconds, SECONDS_MAX))
            finally:
                profile.disable()
        finally:
            self._is_busy = False
        return profile


def as_text(profile: cProfile.Profile) -> str:
    """Return the functions that took longest themselves, a line each."""
    text = io.StringIO()
    stats = pstats.Stats(profile, stream=text)
    stats.sort_stats(pstats.SortKey.TIME).print_stats(LINES_MAX)
    return text.getvalue()


def as_pstats(profile: cProfile.Profile) -> bytes:
    """Return what `python -m pstats`, snakeviz and others read from a file."""
    profile.create_stats()
    # Typeshed does not know what create_stats sets.
    stats: Any = vars(profile)["stats"]
    return marshal.dumps(stats)
