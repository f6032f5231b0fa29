"""Application of the retention rules: deletions, log lines, events and audit records."""

import logging
from collections.abc import Mapping

from core.collection.collector import Hook
from core.ports.event_sink import EventSink
from core.registry.facade import Registry
from entrypoints.audit_trail import AuditTrail
from entrypoints.publishing import publish_retention

_logger = logging.getLogger(__name__)


async def apply_rules(registry: Registry, events: EventSink, *, by: str, audit: AuditTrail) -> Mapping[str, int]:
    """Delete the tags that no rule keeps; return the numbers of repositories and tags checked and of tags deleted.

    Args:
        registry: holds the rules and the tags.
        events: receives an event for each deleted tag.
        by: the actor, for records.
        audit: receives an audit record for each deleted tag.

    Raises:
        StorageError: the store failed; the next run handles the remaining tags.
    """
    counts = {"repositories": 0, "tags": 0, "deleted": 0}
    async for plan in registry.apply_retention(by=by):
        counts["repositories"] += 1
        counts["tags"] += len(plan.verdicts)
        counts["deleted"] += len(plan.removed)
        await audit.record_retention(plan, by=by)
        await publish_retention(events, plan, by=by)
        for state in plan.removed:
            about = {"repository": plan.name, "tag": state.tag, "digest": state.digest}
            _logger.info("tag deleted by retention", extra=about)
    _logger.info("retention rules applied", extra=counts)
    return counts


def retention_hooks(
    registry: Registry, events: EventSink, *, by: str, audit: AuditTrail, is_wanted: bool
) -> tuple[Hook, ...]:
    """Return the hooks that apply retention before a collection, so that content of deleted tags counts as garbage.

    Args:
        registry: holds the rules and the tags.
        events: receives an event for each deleted tag.
        by: the actor that collects, for records.
        audit: receives an audit record for each deleted tag.
        is_wanted: whether any rules are configured.
    """

    async def retain() -> None:
        await apply_rules(registry, events, by=by, audit=audit)

    return (retain,) if is_wanted else ()
