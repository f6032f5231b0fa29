"""Settings that an operator may change while the registry serves, as read by requests."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from config.settings import Settings
from core.coordination.read_only import ReadOnly, ReadOnlySwitch
from core.errors import ReadOnlyError, UnsupportedError
from entrypoints.http.routes import Right

DEFAULT_HEADERS: Final = {"Server": "registry", "X-Content-Type-Options": "nosniff"}
"""Response headers that `http.headers` can override; `nosniff` keeps browsers from running a blob as a script."""


class RuntimeFlags:
    """Current values of the settings; one per application, read again by each request."""

    headers: Mapping[str, Sequence[str]]
    """`http.headers`, and the defaults that they do not replace."""

    def __init__(self, settings: Settings, read_only: ReadOnlySwitch) -> None:
        self._read_only = read_only
        self.apply(settings)

    async def require(self, right: Right) -> None:
        """Require that operations with this right are currently allowed.

        Raises:
            UnsupportedError: the operation is disabled, by the configuration or by the read-only mode of all replicas.
        """
        if right in {Right.READ, Right.CONTROL} or (right is Right.UPKEEP and self._has_upkeep):
            return
        if refuse := self._forbidden.get(right):
            raise refuse()
        await self._read_only.require_writable()

    def allows(self, right: Right) -> bool:
        """Whether changes with this right are currently allowed, by the last known state; for the buttons of a page."""
        return right not in self._forbidden and not self._read_only.is_on

    @property
    def is_read_only(self) -> bool:
        """Whether writes are refused, by the last known state, without reading the store; for metrics."""
        return Right.WRITE in self._forbidden or self._read_only.is_on

    @property
    def read_only_reason(self) -> str:
        """The reason for which writes are refused, by the last known state; empty if nobody gave one."""
        mode = self._read_only.mode
        given = mode.reason if mode and mode.reason != ReadOnly().reason else ""
        return given or self._configured_reason or ""

    @property
    def configured_reason(self) -> str | None:
        """The reason for read-only mode in the configuration; None if the configuration allows writes."""
        return self._configured_reason

    async def upkeep_waits(self) -> bool:
        """Return whether upkeep jobs must wait until the registry is writable again."""
        if self._has_upkeep:
            return False
        try:
            await self.require(Right.WRITE)
        except ReadOnlyError:
            return True
        return False

    def apply(self, settings: Settings) -> None:
        """Apply new settings; requests in flight continue with the values that they have read."""
        configured = {name.title() for name in settings.http.headers}
        defaults = {name: (value,) for name, value in DEFAULT_HEADERS.items() if name.title() not in configured}
        self.headers = {**defaults, **settings.http.headers}
        self._forbidden = _forbidden(settings)
        storage = settings.storage
        self._configured_reason = (storage.readonly_reason or "") if storage.readonly_enabled else None
        self._has_upkeep = settings.storage.readonly_upkeep


def _forbidden(settings: Settings) -> Mapping[Right, Callable[[], UnsupportedError]]:
    forbidden: dict[Right, Callable[[], UnsupportedError]] = {}
    if not settings.storage.delete_enabled:
        forbidden[Right.DELETE] = partial(UnsupportedError, "deletion is disabled (storage.delete.enabled)")
    if settings.storage.readonly_enabled:
        reason = settings.storage.readonly_reason or "the registry is read-only (storage.maintenance.readonly)"
        forbidden |= dict.fromkeys((Right.WRITE, Right.DELETE, Right.UPKEEP), partial(ReadOnlyError, reason))
    return forbidden
