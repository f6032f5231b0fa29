"""Applying the rules of retention: deleting, logging and telling, for the server, a collection, and commands."""

import logging
from collections.abc import Mapping

from core.collection.collector import Hook
from core.ports.event_sink import EventSink
from core.registry import Registry
from entrypoints.audit_trail import AuditTrail
from entrypoints.telling import tell_retention

_logger = logging.getLogger(__name__)


async def apply_rules(registry: Registry, events: EventSink, *, by: str, audit: AuditTrail) -> Mapping[str, int]:
    """Delete the tags that no rule keeps, and return how many repositories and tags were looked at and deleted.

    Args:
        registry: has the rules and the tags.
        events: told of each tag that goes.
        by: who asks, for records.
        audit: likewise.

    Raises:
        StorageError: the store failed; what was not done is done the next time.
    """
    counts = {"repositories": 0, "tags": 0, "deleted": 0}
    async for plan in registry.apply_retention(by=by):
        counts["repositories"] += 1
        counts["tags"] += len(plan.verdicts)
        counts["deleted"] += len(plan.removed)
        await audit.tell_retention(plan, by=by)
        await tell_retention(events, plan, by=by)
        for state in plan.removed:
            about = {"repository": plan.name, "tag": state.tag, "digest": state.digest}
            _logger.info("tag deleted by retention", extra=about)
    _logger.info("retention rules applied", extra=counts)
    return counts


def retention_hooks(
    registry: Registry, events: EventSink, *, by: str, audit: AuditTrail, is_wanted: bool
) -> tuple[Hook, ...]:
    """Return what a collection is to do first, so that what retention takes away is garbage by then.

    Args:
        registry: has the rules and the tags.
        events: told of each tag that goes.
        by: who collects, for records.
        audit: told of each tag that goes, as are events.
        is_wanted: whether there are rules at all.
    """

    async def retain() -> None:
        await apply_rules(registry, events, by=by, audit=audit)

    return (retain,) if is_wanted else ()
