"""Metrics of mirrors."""

from datetime import datetime
from typing import TYPE_CHECKING, Final

from core.ports.metrics import Merge, Metrics

if TYPE_CHECKING:
    from core.transfer.mirrors import MirrorState, ObserveMirror

_PREFIX: Final = "registry_mirror"
_LABELS: Final = ("mirror",)


def mirror_observer(metrics: Metrics) -> "ObserveMirror":
    """Return the observer of mirrors in this process.

    The times are those of all replicas; each process counts its own runs.
    """
    succeeded = metrics.gauge(
        f"{_PREFIX}_last_success_timestamp_seconds",
        "End of the last run without an error or a problem in Unix time.",
        _LABELS,
        merge=Merge.LARGEST,
    )
    ended = metrics.gauge(
        f"{_PREFIX}_last_run_timestamp_seconds", "End of the last run in Unix time.", _LABELS, merge=Merge.LARGEST
    )
    runs = metrics.counter(f"{_PREFIX}_runs_total", "Runs by outcome.", [*_LABELS, "outcome"])
    tags = metrics.counter(f"{_PREFIX}_tags_copied_total", "Tags copied.", _LABELS)
    sent = metrics.counter(f"{_PREFIX}_bytes_total", "Bytes of blobs read from the upstream.", _LABELS)
    deleted = metrics.counter(f"{_PREFIX}_tags_deleted_total", "Tags deleted because the upstream lost them.", _LABELS)
    problems = metrics.counter(f"{_PREFIX}_problems_total", "Images that could not be copied.", _LABELS)

    def observe(name: str, state: "MirrorState", is_own: bool) -> None:  # noqa: FBT001 - see `ObserveMirror`
        ended(_unix(state.ended), name)
        if state.succeeded:
            succeeded(_unix(state.succeeded), name)
        if is_own:
            runs(1, name, "success" if state.is_good else "error" if state.error else "problems")
            tags(state.tags_copied, name)
            sent(state.bytes_sent, name)
            deleted(state.deleted, name)
            problems(state.problems, name)

    return observe


def _unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
