"""Serialization of an audit event as a line of JSON."""

import json
from dataclasses import fields
from datetime import datetime
from typing import Any, Final

from core.json_text import load_json
from core.model.times import time_text
from core.ports.audit_log import AuditAction, AuditEvent, Stage

_EMPTY = ("", (), 0, None)
_TEXTS: Final = tuple(each.name for each in fields(AuditEvent) if each.type is str)


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
        "login": event.login,
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


def parse_event(line: bytes) -> AuditEvent | None:
    """Return the event of a line; None if the line is damaged, or not one of this log.

    The action of a later release becomes `other`.
    """
    try:
        document = load_json(line)
        if not isinstance(document, dict) or document.get("log") != "audit":
            return None
        at = datetime.fromisoformat(document["time"])
        if at.tzinfo is None:
            return None
        tags, status, allowed = document.get("tags", ()), document.get("status"), document.get("allowed")
        return AuditEvent(
            at=at,
            action=_action(document["action"]),
            stage=Stage.ASKED if document.get("stage") == Stage.ASKED else Stage.DONE,
            allowed=allowed if isinstance(allowed, bool) else None,
            tags=tuple(map(str, tags)),
            status=status if isinstance(status, int) else 0,
            **_texts(document),
        )
    except (ValueError, TypeError, KeyError):
        return None


def _action(text: str) -> AuditAction:
    try:
        return AuditAction(text)
    except ValueError:
        return AuditAction.OTHER


def _texts(document: dict[str, Any]) -> dict[str, Any]:
    return {name: str(document[name]) for name in _TEXTS if name in document}


def _encodable(value: object) -> object:
    # Path bytes that are not UTF-8 decode to lone surrogates, which are not valid in JSON.
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
