"""What an operator may change while the registry serves, as the requests read it."""

from collections.abc import Mapping, Sequence

from config.settings import Settings
from entrypoints.http.routes import Right


class Switches:
    """The current values; one per application, read by each request anew."""

    headers: Mapping[str, Sequence[str]]
    """`http.headers`."""
    forbidden: Mapping[Right, str]
    """Rights that are switched off, with what a client is told."""

    def __init__(self, settings: Settings) -> None:
        self.apply(settings)

    def apply(self, settings: Settings) -> None:
        """Take over what these settings say; requests under way go on by what they read before."""
        self.headers = settings.http.headers
        self.forbidden = _forbidden(settings)


def _forbidden(settings: Settings) -> Mapping[Right, str]:
    forbidden: dict[Right, str] = {}
    if not settings.storage.delete_enabled:
        forbidden[Right.DELETE] = "deleting is switched off (storage.delete.enabled)"
    if settings.storage.readonly_enabled:
        reason = settings.storage.readonly_reason or "the registry is read-only (storage.maintenance.readonly)"
        forbidden |= {Right.WRITE: reason, Right.DELETE: reason}
    return forbidden
