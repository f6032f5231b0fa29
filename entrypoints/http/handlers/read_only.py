"""The read-only switch of all replicas: `/v2/_sohu/registry/readonly`."""

import uuid

from aiohttp import web

from config.durations import parse_span
from core.coordination.read_only import REASON_LENGTH_MAX, ReadOnly, switch_off, switch_on
from core.errors import InvalidInputError
from entrypoints.documents import read_only_document
from entrypoints.http.handlers.base import json_response, revalidated
from entrypoints.http.handlers.bodies import read_document
from entrypoints.http.keys import AUDIT_REASON, CALLER
from entrypoints.http.operations import Operations
from entrypoints.http.routes import Target
from entrypoints.http.runtime_flags import RuntimeFlags


class ReadOnlyHandlers:
    """Handlers for the read-only switch. It works while the registry is read-only."""

    def __init__(self, operations: Operations, flags: RuntimeFlags) -> None:
        self._operations = operations
        self._flags = flags

    async def get(self, request: web.Request, _target: Target) -> web.StreamResponse:
        """Show whether the registry is read-only, why, and for how long."""
        return revalidated(request, await self._document(), {})

    async def put(self, request: web.Request, _target: Target) -> web.StreamResponse:
        """Make all replicas read-only."""
        document = await read_document(request, {"reason": str, "duration": str})
        reason = parse_reason(document.get("reason"))
        seconds = parse_seconds(document.get("duration"))
        request[AUDIT_REASON] = reason
        by = request[CALLER].principal.name
        mode = ReadOnly(reason=reason, by=by, seconds=seconds, id=uuid.uuid4().hex)
        await switch_on(self._operations.storage, mode)
        return json_response(await self._document())

    async def delete(self, _request: web.Request, _target: Target) -> web.StreamResponse:
        """Let all replicas accept changes again."""
        await switch_off(self._operations.storage)
        return json_response(await self._document())

    async def _document(self) -> dict[str, object]:
        switch = self._operations.read_only
        await switch.look()
        return read_only_document(switch, configured=self._flags.configured_reason)


def parse_reason(text: str | None) -> str:
    """Return a reason as it is stored; the default if there is none.

    Raises:
        InvalidInputError: it is empty or too long.
    """
    if text is None:
        return ReadOnly().reason
    if not text.strip() or len(text) > REASON_LENGTH_MAX:
        raise InvalidInputError(f"reason must have 1 to {REASON_LENGTH_MAX} characters")
    return text.strip()


def parse_seconds(text: str | None) -> float | None:
    """Return a duration such as `1h30m` in seconds; None if there is none.

    Raises:
        InvalidInputError: it is no duration.
    """
    try:
        return None if text is None else parse_span(text)
    except ValueError as error:
        raise InvalidInputError(f"invalid duration: {error} (90s, 45m, 1h30m)") from None
