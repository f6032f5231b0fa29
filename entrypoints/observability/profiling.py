"""Profiles of the event loop, taken while the registry serves.

Only the thread of the event loop is measured, because all requests share its time. A profile contains names of
functions and files, never values.
"""

import asyncio
import io
import marshal
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from cProfile import Profile

SECONDS_MAX: Final = 120.0
LINES_MAX: Final = 80


class ProfilerBusyError(Exception):
    """A profile is already being taken; the interpreter supports one at a time."""


class Profiler:
    """Takes profiles of the calling thread; one per process."""

    def __init__(self) -> None:
        self._is_busy = False

    async def profile(self, seconds: float) -> "Profile":
        """Profile the event loop for `seconds`. During that time every call in it costs about a third more.

        Raises:
            ProfilerBusyError: another profile is being taken.
        """
        if self._is_busy:
            raise ProfilerBusyError
        # Imported for the first profile, as `pstats` below: most servers take none.
        from cProfile import Profile  # noqa: PLC0415

        self._is_busy = True
        profile = Profile()
        try:
            profile.enable()
            try:
                await asyncio.sleep(min(seconds, SECONDS_MAX))
            finally:
                profile.disable()
        finally:
            self._is_busy = False
        return profile


def as_text(profile: "Profile") -> str:
    """Return the functions with the longest own time, one per line."""
    from pstats import SortKey, Stats  # noqa: PLC0415

    text = io.StringIO()
    stats = Stats(profile, stream=text)
    stats.sort_stats(SortKey.TIME).print_stats(LINES_MAX)
    return text.getvalue()


def as_pstats(profile: "Profile") -> bytes:
    """Return the profile in the file format of `python -m pstats`, snakeviz and others."""
    profile.create_stats()
    # Typeshed lacks the attribute that create_stats sets.
    stats: Any = vars(profile)["stats"]
    return marshal.dumps(stats)
