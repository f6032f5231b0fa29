"""The queues of events: `/v2/_sohu/registry/notifications`. Responses contain numbers, and no event or address."""

from typing import Final

from aiohttp import web

from core.errors import InvalidInputError
from core.notifications.queues import queue_state, replay
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
        outbox, configured = self._operations.outbox, self._operations.endpoint_names()
        states = [await queue_state(outbox, name) for name in sorted(configured | await outbox.endpoints())]
        endpoints = [queue_document(state, is_configured=state.endpoint in configured) for state in states]
        return revalidated(request, {"endpoints": endpoints}, {})

    async def post(self, request: web.Request, _target: Target) -> web.StreamResponse:
        """Deliver dead letters again, of one endpoint or of all."""
        document = await require_action(request, "replay", {"endpoint": str})
        outbox = self._operations.outbox
        found = sorted(await outbox.endpoints())
        endpoints = [document["endpoint"]] if "endpoint" in document else found
        if not set(endpoints) <= {*found, *self._operations.endpoint_names()}:
            raise InvalidInputError("unknown endpoint")
        left, replayed = REPLAYED_MAX, 0
        is_complete = True
        for endpoint in endpoints:
            names = await outbox.dead(endpoint, limit=left + 1)
            is_complete = is_complete and len(names) <= left
            replayed += await replay(outbox, endpoint, names[:left])
            left -= min(left, len(names))
        return json_response({"replayed": replayed, "complete": is_complete})
