"""Construction of the summaries of repositories, from the settings."""

from collections.abc import Callable

from config.settings import Settings
from core.coordination.read_only import ReadOnlySwitch


def summary_storing(settings: Settings, read_only: ReadOnlySwitch) -> Callable[[], bool]:
    """Return the function that decides whether a request may store summaries now."""
    may_ever = settings.summaries.enabled and not settings.storage.readonly_enabled
    return lambda: may_ever and not read_only.is_on
