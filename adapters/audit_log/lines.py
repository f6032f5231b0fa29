"""Serialization of an audit event as a line of JSON."""

import json

from core.model.times import time_text
from core.ports.audit_log import AuditEvent

_EMPTY = ("", (), 0, None)


def format_event(event: AuditEvent) -> bytes:
    """Return the line, including its end: ASCII without control characters, for any event."""
    document: dict[str, object] = {
        # Distinguishes the line from those of other logs on the same stream.
        "log": "audit",
        "time": time_text(event.at, timespec="microseconds"),
        "action": event.action.value,
        "stage": event.stage.value,
        "allowed": event.allowed,
        "actor": event.actor,
        "key": event.key,
        "claimed": event.claimed,
        "repository": event.repository,
        "tags": event.tags,
        "digest": event.digest,
        "source": event.source,
        "client": event.client,
        "method": event.method,
        "status": event.status,
        "error": event.error,
        "request_id": event.request_id,
        "trace_id": event.trace_id,
        "command": event.command,
        "entry": event.entry,
        "reason": event.reason,
    }
    kept = {name: value for name, value in document.items() if value is False or value not in _EMPTY}
    return json.dumps({name: _encodable(value) for name, value in kept.items()}).encode() + b"\n"


def _encodable(value: object) -> object:
    # Path bytes that are not UTF-8 decode to lone surrogates, which are not valid in JSON.
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
