"""Publication of events and audit records by the operations of the registry themselves.

An operation publishes its event after the change is stored and before it returns (ADR 16). So neither a request nor a
command can forget an event, or answer before the event is recorded.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import datetime

from core.errors import AuditUnavailableError
from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.events import Actor, EventAction, Occurrence, Origin
from core.model.manifest import StoredManifest
from core.model.media_types import OCTET_STREAM
from core.model.names import Reference, RepositoryName, Tag
from core.notifications.envelope import references_of
from core.ports.audit_log import AuditAction, AuditEvent, AuditLog
from core.ports.event_sink import EventSink
from core.retention.rules import TagState

_logger = logging.getLogger(__name__)


class Publisher:
    """Publishes the same events as distribution, and audit records of changes by rules; one per process.

    Operations ask `wants` before they prepare an event of content. All methods for changes raise
    `StorageUnavailableError` as `EventSink.emit` does; those for pulls do not.

    Args:
        events: destination of the events.
        audit_log: destination of the audit records.
        now: returns the current time, UTC-aware.
    """

    def __init__(self, events: EventSink, audit_log: AuditLog, *, now: Callable[[], datetime]) -> None:
        self._events = events
        self._audit_log = audit_log
        self._now = now

    def wants(self, action: EventAction, media_type: str = OCTET_STREAM) -> bool:
        """Whether any endpoint receives events with this action for a blob, or for a manifest of this type."""
        return self._events.wants(action, media_type)

    async def publish_blob(
        self,
        action: EventAction,
        name: RepositoryName,
        blob: Descriptor,
        by: Actor,
        *,
        source: RepositoryName | None = None,
    ) -> None:
        """Publish an event for a blob that was pulled, pushed, or mounted from `source`."""
        origin = by.origin()
        occurrence = Occurrence(
            action=action,
            repository=name,
            digest=blob.digest,
            media_type=OCTET_STREAM,
            size=blob.size,
            from_repository=source,
            url=_url(origin, f"{name}/blobs/{blob.digest}"),
        )
        await self._events.emit([occurrence], origin)

    async def publish_pull(
        self, name: RepositoryName, reference: Reference, manifest: StoredManifest, by: Actor
    ) -> None:
        """Publish an event for a manifest that is sent, or described in response to `HEAD`."""
        origin = by.origin()
        tag = None if isinstance(reference, Digest) else reference
        await self._events.emit([self._of_manifest(EventAction.PULL, name, manifest, tag, origin)], origin)

    async def publish_pushes(
        self, pushed: Sequence[tuple[RepositoryName, Tag | None, StoredManifest]], by: Actor
    ) -> None:
        """Publish an event for each tag that was pointed at a manifest, or for a manifest without a tag."""
        origin = by.origin()
        occurrences = [
            self._of_manifest(EventAction.PUSH, name, manifest, tag, origin) for name, tag, manifest in pushed
        ]
        await self._events.emit(occurrences, origin)

    async def publish_deletes(
        self, name: RepositoryName, by: Actor, *, digest: Digest | None = None, tags: Sequence[Tag] = ()
    ) -> None:
        """Publish an event for a deleted manifest or blob, and one for each deleted tag.

        Without either, publish one event for the deletion of the whole repository, as distribution does.
        """
        if not self._events.wants(EventAction.DELETE):
            return
        gone = Occurrence(action=EventAction.DELETE, repository=name, digest=digest)
        occurrences = [replace(gone, digest=None, tag=tag) for tag in tags]
        if digest is not None or not tags:
            occurrences.insert(0, gone)
        await self._events.emit(occurrences, by.origin())

    async def publish_retention(self, name: RepositoryName, states: Sequence[TagState], by: Actor) -> None:
        """Publish an audit record and an event for each tag that retention deleted."""
        for state in states:
            record = AuditEvent(
                at=self._now(),
                action=AuditAction.TAG_DELETE,
                allowed=True,
                actor=by.name,
                repository=name,
                tags=(state.tag,),
                digest=state.digest,
                reason="retention",
            )
            await record_or_log(self._audit_log, record)
        await self.publish_deletes(name, by, tags=[state.tag for state in states])

    def _of_manifest(
        self, action: EventAction, name: RepositoryName, manifest: StoredManifest, tag: Tag | None, origin: Origin
    ) -> Occurrence:
        return Occurrence(
            action=action,
            repository=name,
            digest=manifest.digest,
            media_type=manifest.media_type,
            size=len(manifest.content),
            tag=tag,
            url=_url(origin, f"{name}/manifests/{manifest.digest}"),
            references=references_of(manifest.content) if self._events.wants_references else (),
        )


async def record_or_log(log: AuditLog, event: AuditEvent) -> None:
    """Record an action that is already done; on failure, write the event to the error log, so that it is not lost."""
    try:
        await log.record(event)
    except AuditUnavailableError as error:
        plain = {name: str(value) for name, value in asdict(event).items() if value not in ("", (), 0, None)}
        _logger.error("audit event not recorded, logged here instead: %s", error, extra={"audit": plain})  # noqa: TRY400


def _url(origin: Origin, path: str) -> str:
    return f"{origin.root}v2/{path}" if origin.root else ""
