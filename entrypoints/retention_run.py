"""Application of the retention rules, with a log line for each deleted tag."""

import logging
from collections.abc import Mapping
from functools import partial

from core.collection.collector import Hook
from core.model.events import Actor
from core.registry.facade import Registry

_logger = logging.getLogger(__name__)


async def apply_rules(registry: Registry, *, by: Actor) -> Mapping[str, int]:
    """Delete the tags that no rule keeps; return the numbers of repositories and tags checked and of tags deleted.

    Args:
        registry: holds the rules and the tags.
        by: the job or command, for records.

    Raises:
        StorageError: the store failed; the next run handles the remaining tags.
    """
    counts = {"repositories": 0, "tags": 0, "deleted": 0}
    async for plan in registry.apply_retention(by=by):
        counts["repositories"] += 1
        counts["tags"] += len(plan.verdicts)
        counts["deleted"] += len(plan.removed)
        for state in plan.removed:
            about = {"repository": plan.name, "tag": state.tag, "digest": state.digest}
            _logger.info("tag deleted by retention", extra=about)
    _logger.info("retention rules applied", extra=counts)
    return counts


def retention_hooks(registry: Registry, *, by: Actor) -> tuple[Hook, ...]:
    """Return the hooks that apply retention before a collection, so that content of deleted tags counts as garbage."""
    return (partial(apply_rules, registry, by=by),) if registry.retention.has_rules else ()
