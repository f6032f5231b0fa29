"""JSON that receivers get, as distribution writes it: order of members, omitted members, indentation, escapes."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from core.model.events import Occurrence, Origin
from core.model.manifest import sendable

EventDocument = Mapping[str, Any]
"""One event, with its members in the order of output."""

_INDENT: Final = 3
_ESCAPES: Final = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029\ufffd"}
"""Characters that Go's encoder escapes beyond JSON's own rules. In JSON they occur only inside strings."""
_DESCRIPTOR_MEMBERS: Final = ("mediaType", "size", "digest", "urls", "annotations", "platform")
_PLATFORM_MEMBERS: Final = ("architecture", "os", "os.version", "os.features", "variant")


class EnvelopeType(StrEnum):
    """Dialect of the envelope, as spelled in the configuration."""

    V1 = "v1"
    """Distribution 2.x: empty members are omitted."""
    V2 = "v2"
    """Distribution 3: media type, digest and size are always present, in this order."""

    @property
    def media_type(self) -> str:
        """Media type of the envelope."""
        return f"application/vnd.docker.distribution.events.{self}+json"


def event_document(
    occurrence: Occurrence,
    origin: Origin,
    *,
    event_id: str,
    happened_at: datetime,
    source: Mapping[str, str],
    envelope: EnvelopeType,
) -> EventDocument:
    """Return an event as it is recorded and sent.

    Args:
        occurrence: the push, pull, mount or delete.
        origin: the request that caused it.
        event_id: unique; the same when the event is delivered again.
        happened_at: UTC-aware.
        source: `addr` and `instanceID` of this process.
        envelope: the dialect.
    """
    request = {
        "id": origin.request_id,
        "addr": origin.address,
        "host": _readable(origin.host),
        "method": origin.method,
    }
    return {
        "id": event_id,
        "timestamp": _timestamp(happened_at),
        "action": occurrence.action.value,
        "target": _target(occurrence, envelope),
        "request": _without_empty(request, keep=("id", "method")) | {"useragent": _readable(origin.user_agent)},
        "actor": _without_empty({"name": _readable(origin.actor)}),
        "source": dict(source),
    }


def render_envelope(event: EventDocument) -> bytes:
    """Return the body of a request: an envelope with this single event, as distribution sends it."""
    text = json.dumps({"events": [event]}, indent=_INDENT, ensure_ascii=False)
    return sendable(text).translate(_ESCAPES).encode()


def references_of(manifest: bytes) -> tuple[Mapping[str, object], ...]:
    """Return the descriptors of a manifest's config and layers, or of an index's manifests, as events list them.

    Args:
        manifest: content that was served or accepted, and is therefore a JSON object. A store may hold media types that
            no client can push, so members that are not descriptors are omitted.
    """
    document = json.loads(manifest)
    config = document.get("config")
    children = document.get("manifests") or document.get("layers") or document.get("blobs")
    entries = [config, *children] if isinstance(children, list) else [config]
    return tuple(_descriptor(entry) for entry in entries if entry and isinstance(entry, dict))


def _target(occurrence: Occurrence, envelope: EnvelopeType) -> dict[str, object]:
    size, references = occurrence.size, list(occurrence.references)
    described: dict[str, object] = {
        "mediaType": occurrence.media_type,
        "size": size,
        "digest": occurrence.digest or "",
    }
    if envelope is EnvelopeType.V2:
        described = _as_in_oci(described)
        references = [_as_in_oci(reference) for reference in references]
    else:
        described = _without_empty(described)
    return described | _without_empty(
        {
            "length": size,
            "repository": occurrence.repository,
            "fromRepository": occurrence.from_repository,
            "url": occurrence.url,
            "tag": occurrence.tag,
            "references": references,
        }
    )


def _as_in_oci(descriptor: Mapping[str, object]) -> dict[str, object]:
    return {member: descriptor[member] for member in ("mediaType", "digest", "size")} | dict(descriptor)


def _descriptor(entry: Mapping[str, Any]) -> Mapping[str, object]:
    known = _without_empty({member: entry.get(member) for member in _DESCRIPTOR_MEMBERS}, keep=("size",))
    platform = entry.get("platform")
    if isinstance(platform, dict):
        members = {member: platform.get(member, "") for member in _PLATFORM_MEMBERS}
        known["platform"] = _without_empty(members, keep=("architecture", "os"))
    return known


def _without_empty(members: Mapping[str, object], *, keep: tuple[str, ...] = ()) -> dict[str, object]:
    return {name: value for name, value in members.items() if value or name in keep}


def _timestamp(moment: datetime) -> str:
    """Return a time as Go formats it: RFC 3339 in UTC, without trailing zeros in the fraction."""
    text = moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
    return text.rstrip("0").rstrip(".") + "Z"


def _readable(text: str) -> str:
    """Replace header bytes that are not UTF-8, and lone surrogates in a token's name."""
    return sendable(text)
