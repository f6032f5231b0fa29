"""What an operator may change while the registry serves, as the requests read it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from config.settings import Settings
from core.errors import ReadOnlyError, UnsupportedError
from core.read_only import ReadOnlySwitch
from entrypoints.http.routes import Right

DEFAULT_HEADERS: Final = {"Server": "registry", "X-Content-Type-Options": "nosniff"}
"""Headers of every response that `http.headers` does not set; a browser must not run a blob as a script."""


class Switches:
    """The current values; one per application, read by each request anew."""

    headers: Mapping[str, Sequence[str]]
    """`http.headers`, and the defaults that it does not replace."""

    def __init__(self, settings: Settings, read_only: ReadOnlySwitch) -> None:
        self._read_only = read_only
        self.apply(settings)

    async def require(self, right: Right) -> None:
        """Let pass what may be done now.

        Raises:
            UnsupportedError: it is switched off, by the configuration or for all replicas while they serve.
        """
        if right is Right.READ:
            return
        if refuse := self._forbidden.get(right):
            raise refuse()
        await self._read_only.require_writable()

    @property
    def is_read_only(self) -> bool:
        """Whether nothing is taken in, as far as this process knows without asking: for metrics."""
        return Right.WRITE in self._forbidden or self._read_only.is_on

    async def upkeep_waits(self) -> bool:
        """Whether what the registry does to the store on its own account has to wait until it is writable again."""
        if self._has_upkeep:
            return False
        try:
            await self.require(Right.WRITE)
        except ReadOnlyError:
            return True
        return False

    def apply(self, settings: Settings) -> None:
        """Take over what these settings say; requests under way go on by what they read before."""
        configured = {name.title() for name in settings.http.headers}
        defaults = {name: (value,) for name, value in DEFAULT_HEADERS.items() if name.title() not in configured}
        self.headers = {**defaults, **settings.http.headers}
        self._forbidden = _forbidden(settings)
        self._has_upkeep = settings.storage.readonly_upkeep


def _forbidden(settings: Settings) -> Mapping[Right, Callable[[], UnsupportedError]]:
    forbidden: dict[Right, Callable[[], UnsupportedError]] = {}
    if not settings.storage.delete_enabled:
        forbidden[Right.DELETE] = partial(UnsupportedError, "deleting is switched off (storage.delete.enabled)")
    if settings.storage.readonly_enabled:
        reason = settings.storage.readonly_reason or "the registry is read-only (storage.maintenance.readonly)"
        forbidden |= dict.fromkeys((Right.WRITE, Right.DELETE), partial(ReadOnlyError, reason))
    return forbidden
