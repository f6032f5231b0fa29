"""Audit records of requests: which requests are recorded, and under which action."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from config.settings import AuditSettings, Settings
from core.model.access import ANONYMOUS
from core.ports.audit_log import AuditAction, AuditEvent, AuditLog, Stage
from core.registry.publisher import record_or_log
from entrypoints.http.actors import claimed_name
from entrypoints.http.keys import (
    AUDIT_ACTION,
    AUDIT_REASON,
    AUDIT_TAGS,
    CALLER,
    CLAIMED_USER,
    CLIENT,
    ERROR_CODE,
    REQUEST_ID,
    SIGNED_IN,
    TARGET,
    TRACE_ID,
)
from entrypoints.http.routes import ENDPOINTS, Resource, Target

ACTIONS: Final[Mapping[tuple[Resource, str], AuditAction]] = {
    (endpoint.resource, endpoint.method): endpoint.action for endpoint in ENDPOINTS
}
_CHANGES: Final = frozenset(
    {
        AuditAction.MANIFEST_PUSH,
        AuditAction.MANIFEST_DELETE,
        AuditAction.TAG_DELETE,
        AuditAction.REPOSITORY_DELETE,
        AuditAction.BLOB_PUSH,
        AuditAction.BLOB_MOUNT,
        AuditAction.BLOB_DELETE,
        AuditAction.UPLOAD_CANCEL,
        AuditAction.TRASH_RESTORE,
        AuditAction.TRASH_DELETE,
        AuditAction.NOTIFICATIONS_REPLAY,
        AuditAction.USAGE_MEASURE,
        AuditAction.COLLECTION_START,
        AuditAction.VERIFICATION_START,
        AuditAction.KEY_CREATE,
        AuditAction.KEY_REVOKE,
        AuditAction.READONLY_ON,
        AuditAction.READONLY_OFF,
    }
)
"""Actions with a visible effect on the registry; parts of an upload have none."""
_TRASH_ENTRIES: Final = frozenset({Resource.TRASH_ENTRY, Resource.REPOSITORY_TRASH_ENTRY})
_PIECES: Final = frozenset({AuditAction.UPLOAD_START, AuditAction.UPLOAD_APPEND, AuditAction.UPLOAD_STATUS})
"""Actions recorded only if they were refused."""
_REFUSALS: Final = frozenset({401, 403, 405})
_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_LOGINS: Final = frozenset({AuditAction.TOKEN_ISSUE, AuditAction.SIGN_IN})


class Auditor:
    """Records requests in the audit log; one per application.

    Args:
        log: destination of the events.
        settings: which requests are recorded, and whether changes must be recorded first.
        now: returns the current time, UTC-aware.
    """

    def __init__(self, log: AuditLog, settings: AuditSettings, *, now: Callable[[], datetime]) -> None:
        self._log = log
        self._settings = settings
        self.is_on = settings.kind != "disabled"
        """Whether the audit log is enabled; otherwise the middleware is not needed."""
        self._now = now

    @web.middleware
    async def record(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Record the outcome of a request before its response is sent."""
        response = await handler(request)
        event = self._outcome(request, response)
        if self._is_recorded(event, request):
            await record_or_log(self._log, event)
        return response

    @web.middleware
    async def permit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Call `ask`, then the handler.

        Raises:
            AuditUnavailableError: the request cannot be recorded.
        """
        await self.ask(request)
        return await handler(request)

    async def ask(self, request: web.Request) -> None:
        """With `audit.required`, record the request for a change before the change is made.

        Raises:
            AuditUnavailableError: the request cannot be recorded.
        """
        if self._settings.required and action_of(request) in _CHANGES:
            await self._log.record(replace(self._event(request), stage=Stage.ASKED, allowed=True))

    def _is_recorded(self, event: AuditEvent, request: web.Request) -> bool:
        if event.action in _CHANGES or event.status == _FORBIDDEN:
            # A 401 without credentials is the challenge that begins every push, not a refused change.
            return event.status != _UNAUTHORIZED or _has_credentials(request)
        if event.status == _UNAUTHORIZED:
            return _has_credentials(request)
        if event.action in _LOGINS:
            return bool(event.actor) or self._settings.pulls
        return self._settings.pulls and event.action not in _PIECES

    def _outcome(self, request: web.Request, response: web.StreamResponse) -> AuditEvent:
        event = self._event(request)
        status = response.status
        is_refused = status == _UNAUTHORIZED or (status == _FORBIDDEN and CLAIMED_USER in request)
        return replace(
            event,
            allowed=status not in _REFUSALS,
            status=status,
            error=request.get(ERROR_CODE, ""),
            claimed=claimed_name(request) if is_refused else "",
            tags=event.tags or tuple(response.headers.getall("OCI-Tag", ())),
            digest=event.digest or response.headers.get("Docker-Content-Digest", ""),
            reason=request.get(AUDIT_REASON, ""),
        )

    def _event(self, request: web.Request) -> AuditEvent:
        action, target = action_of(request), request.get(TARGET) or Target(Resource.BASE)
        client, query, caller = request.get(CLIENT), request.query, request.get(CALLER)
        principal = request.get(SIGNED_IN) or (caller.principal if caller else ANONYMOUS)
        is_digest = ":" in target.reference
        is_tag = target.resource is Resource.MANIFEST and not is_digest
        digest = target.reference if is_digest else query.get("mount", query.get("digest", ""))
        return AuditEvent(
            at=self._now(),
            action=action,
            actor=principal.name,
            key=principal.key,
            login=principal.method,
            repository=target.name,
            tags=request.get(AUDIT_TAGS, (target.reference,) if is_tag and target.reference else ()),
            digest=digest if target.name else "",
            entry=target.reference if target.resource in _TRASH_ENTRIES else "",
            source=query.get("from", "") if action is AuditAction.BLOB_MOUNT else "",
            client=client.address if client else "",
            method=request.method,
            request_id=request.get(REQUEST_ID, ""),
            trace_id=request.get(TRACE_ID, ""),
        )


class SwitchAudit:
    """Records when a new configuration makes the registry read-only or writable.

    Args:
        log: destination of the events.
        begun: settings at the start of the process.
        now: returns the current time, UTC-aware.
    """

    def __init__(self, log: AuditLog, begun: Settings, *, now: Callable[[], datetime]) -> None:
        self._log = log
        self._is_read_only = begun.storage.readonly_enabled
        self._now = now
        self._recording: asyncio.Task[None] | None = None

    def apply(self, settings: Settings) -> None:
        """Apply new settings (an applier of the reloader; runs in the event loop)."""
        if settings.storage.readonly_enabled == self._is_read_only:
            return
        self._is_read_only = settings.storage.readonly_enabled
        action = AuditAction.READONLY_ON if self._is_read_only else AuditAction.READONLY_OFF
        event = AuditEvent(at=self._now(), action=action, allowed=True, reason=settings.storage.readonly_reason or "")
        self._recording = asyncio.create_task(record_or_log(self._log, event))


def action_of(request: web.Request) -> AuditAction:
    """Return the audit action of a request."""
    if AUDIT_ACTION in request:
        return request[AUDIT_ACTION]
    target = request.get(TARGET)
    action = ACTIONS.get((target.resource, request.method), AuditAction.OTHER) if target else AuditAction.OTHER
    if action is AuditAction.MANIFEST_DELETE and target and ":" not in target.reference:
        return AuditAction.TAG_DELETE
    if action is AuditAction.UPLOAD_START and "mount" in request.query:
        return AuditAction.BLOB_MOUNT
    if action is AuditAction.UPLOAD_START and "digest" in request.query:
        return AuditAction.BLOB_PUSH
    return action


def _has_credentials(request: web.Request) -> bool:
    return "Authorization" in request.headers or CLAIMED_USER in request
