"""The queues of events: `/v2/_sohu/registry/notifications`. Responses contain numbers, and no event or address."""

from collections.abc import Sequence
from typing import Final

from aiohttp import web

from core.errors import InvalidInputError
from core.notifications.queues import QueueState, queue_state, replay
from entrypoints.documents import queue_document
from entrypoints.http.handlers.base import json_response, revalidated
from entrypoints.http.handlers.bodies import require_action
from entrypoints.http.operations import Operations
from entrypoints.http.routes import Target

REPLAYED_MAX: Final = 1_000
"""Maximum number of dead letters that one request replays."""


class NotificationHandlers:
    """Handlers for the queues of events."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    async def get(self, request: web.Request, _target: Target) -> web.StreamResponse:
        """Show how many events wait or were given up, for each endpoint."""
        configured = self._operations.endpoint_names()
        states = await queue_states(self._operations)
        endpoints = [queue_document(state, is_configured=state.endpoint in configured) for state in states]
        return revalidated(request, {"endpoints": endpoints}, {})

    async def post(self, request: web.Request, _target: Target) -> web.StreamResponse:
        """Deliver dead letters again, of one endpoint or of all."""
        document = await require_action(request, "replay", {"endpoint": str})
        replayed, is_complete = await replay_dead(self._operations, document.get("endpoint"))
        return json_response({"replayed": replayed, "complete": is_complete})


async def queue_states(operations: Operations) -> Sequence[QueueState]:
    """Return the queue of each endpoint that is configured or has events (see `queue_state` for the cost)."""
    outbox = operations.outbox
    names = sorted(operations.endpoint_names() | await outbox.endpoints())
    return [await queue_state(outbox, name) for name in names]


async def replay_dead(operations: Operations, endpoint: str | None) -> tuple[int, bool]:
    """Queue dead letters for delivery, at most `REPLAYED_MAX`; return their number and whether these are all.

    Args:
        operations: the outbox and the names of the endpoints.
        endpoint: the only endpoint whose dead letters are queued; None for all.

    Raises:
        InvalidInputError: there is no such endpoint.
    """
    outbox = operations.outbox
    found = sorted(await outbox.endpoints())
    endpoints = found if endpoint is None else [endpoint]
    if not set(endpoints) <= {*found, *operations.endpoint_names()}:
        raise InvalidInputError("unknown endpoint")
    left, replayed, is_complete = REPLAYED_MAX, 0, True
    for each in endpoints:
        names = await outbox.dead(each, limit=left + 1)
        is_complete = is_complete and len(names) <= left
        replayed += await replay(outbox, each, names[:left])
        left -= min(left, len(names))
    return replayed, is_complete
