"""Events for changes made without an HTTP request: by commands or by retention rules.

`by` names the actor, as in trash records.
"""

from core.model.events import EventAction, Occurrence, Origin
from core.ports.event_sink import EventSink
from core.registry.facade import Registry
from core.registry.repositories import RepositoryRemoval
from core.restoration.service import Restoration
from core.retention.service import RetentionPlan


async def publish_retention(events: EventSink, plan: RetentionPlan, *, by: str) -> None:
    """Publish one event for each tag that retention deleted.

    Raises:
        StorageUnavailableError: see `EventSink.emit`.
    """
    gone = [Occurrence(action=EventAction.DELETE, repository=plan.name, tag=state.tag) for state in plan.removed]
    await events.emit(gone, Origin(actor=by))


async def publish_removal(events: EventSink, removal: RepositoryRemoval, *, by: str) -> None:
    """Publish one event for the deletion of a whole repository, as distribution does.

    Raises:
        StorageUnavailableError: see `EventSink.emit`.
    """
    await events.emit([Occurrence(action=EventAction.DELETE, repository=removal.name)], Origin(actor=by))


async def publish_restoration(events: EventSink, registry: Registry, restoration: Restoration, *, by: str) -> None:
    """Publish a push event for each restored tag.

    Raises:
        StorageUnavailableError: see `EventSink.emit`.
    """
    if not events.wants(EventAction.PUSH):
        return
    back = []
    for name, tag, digest in restoration.tags:
        manifest = await registry.manifests.get(name, digest)
        back.append(
            Occurrence(
                action=EventAction.PUSH,
                repository=name,
                digest=digest,
                media_type=manifest.media_type,
                size=len(manifest.content),
                tag=tag,
            )
        )
    await events.emit(back, Origin(actor=by))
