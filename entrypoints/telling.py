"""What the registry does without a request, on a command or by its rules, told to the sink of events.

`by` says who did it, as in the records of the trash.
"""

from core.events import EventAction, Occurrence, Origin
from core.ports.event_sink import EventSink
from core.registry import Registry
from core.services.repositories import RepositoryRemoval
from core.services.retention import RetentionPlan
from core.services.trash import Restoration


async def tell_retention(events: EventSink, plan: RetentionPlan, *, by: str) -> None:
    """Tell of each tag that retention has deleted.

    Raises:
        StorageUnavailableError: see `EventSink.emit`.
    """
    gone = [Occurrence(action=EventAction.DELETE, repository=plan.name, tag=state.tag) for state in plan.removed]
    await events.emit(gone, Origin(actor=by))


async def tell_removal(events: EventSink, removal: RepositoryRemoval, *, by: str) -> None:
    """Tell that a repository is gone as a whole: one event, as distribution has it.

    Raises:
        StorageUnavailableError: see `EventSink.emit`.
    """
    await events.emit([Occurrence(action=EventAction.DELETE, repository=removal.name)], Origin(actor=by))


async def tell_restoration(events: EventSink, registry: Registry, restoration: Restoration, *, by: str) -> None:
    """Tell of each tag that is back as if it had been pushed.

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
