"""Metrics of storage and descriptor cache, under distribution's names."""

from collections.abc import Callable
from typing import Final

from core.errors import StorageUnavailableError
from core.ports.metrics import Metrics

SECONDS_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""The default buckets of Prometheus' Go library, as in distribution."""

ACTIONS: Final = {
    "read": "GetContent",
    "write": "PutContent",
    "write_all": "PutContents",
    "write_then_remove": "PutThenDelete",
    "create": "CreateContent",
    "open_reader": "Reader",
    "open_writer": "Writer",
    "append": "Append",
    "content": "ReadStaged",
    "commit": "Commit",
    "discard": "Cancel",
    "staged_size": "StagedSize",
    "stat": "Stat",
    "list_children": "List",
    "list_marked": "ListMarked",
    "walk": "Walk",
    "walk_within": "WalkWithin",
    "drop_unfinished": "DropUnfinished",
    "move": "Move",
    "delete": "Delete",
    "delete_tree": "DeleteTree",
    "clear": "Clear",
    "prune": "Prune",
    "redirect_url": "RedirectURL",
    "check": "Check",
}
"""The port's operations with distribution's names; operations that distribution lacks have names in the same style."""


def storage_observer(metrics: Metrics, driver: str) -> Callable[[str, float, type[BaseException] | None], None]:
    """Return the observer for an instrumented storage."""
    seconds_of = metrics.histogram(
        "registry_storage_action_seconds",
        "Duration of storage operations in seconds.",
        ["driver", "action"],
        buckets=SECONDS_BUCKETS,
    )
    errors = metrics.counter(
        "registry_storage_errors_total",
        "Number of failed storage operations; a missing object is not a failure.",
        ["driver", "action"],
    )

    def observe(operation: str, seconds: float, error: type[BaseException] | None) -> None:
        action = ACTIONS.get(operation, operation)
        seconds_of(seconds, driver, action)
        if error is not None and issubclass(error, StorageUnavailableError):
            errors(1, driver, action)

    return observe


class CacheCounts:
    """Counts lookups and hits of the descriptor cache; misses are the difference."""

    def __init__(self, metrics: Metrics) -> None:
        self._requests = metrics.counter(
            "registry_storage_cache_requests_total", "Number of descriptor lookups in the cache."
        )
        self._hits = metrics.counter("registry_storage_cache_hits_total", "Number of descriptors found in the cache.")
        self._errors = metrics.counter(
            "registry_storage_cache_errors_total", "Number of failed cache operations; each counts as a miss."
        )
        # Export zeros from the start, so that rates include the first increment.
        self._requests(0)
        self._hits(0)
        self._errors(0)

    def __call__(self, *, hit: bool) -> None:
        """Count one lookup."""
        self._requests(1)
        if hit:
            self._hits(1)

    def failed(self) -> None:
        """Count a failed cache operation."""
        self._errors(1)
