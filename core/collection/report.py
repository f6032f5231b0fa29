"""What a run tells of itself: numbers for people, logs, metrics and `--json`."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

from core.collection.items import Item, ItemKind

PROBLEMS_MAX: Final = 1_000
"""How many problems are told in words; all are counted."""


_COUNTERS: Final = {
    ItemKind.MANIFEST: "manifests_removed",
    ItemKind.LAYER: "layer_links_removed",
    ItemKind.COMPANION: "other_links_removed",
    ItemKind.REMNANT: "other_links_removed",
}


class Phase(StrEnum):
    """What a run is doing."""

    MARKING = "marking"
    """It reads what is needed."""
    SETTLING = "settling"
    """It has condemned something and waits for those who push."""
    LOOKING_AGAIN = "looking again"
    REMOVING = "removing"
    DONE = "done"


@dataclass(slots=True)
class RepositoryReport:
    """What a run found in one repository."""

    manifests_removed: int = 0
    layer_links_removed: int = 0
    other_links_removed: int = 0
    """Of referrers, signatures, and what tags once pointed at."""


@dataclass(slots=True)
class CollectionReport:
    """What a run has done so far; with `is_dry_run`, what it would do."""

    is_dry_run: bool = False
    phase: Phase = Phase.MARKING
    repositories: int = 0
    repositories_total: int = 0
    """How many there were when the run began."""
    manifests: int = 0
    tags: int = 0
    blobs: int = 0
    """Data that was looked at, of blobs and manifests."""
    blob_bytes: int = 0
    manifests_removed: int = 0
    layer_links_removed: int = 0
    other_links_removed: int = 0
    blobs_removed: int = 0
    bytes_removed: int = 0
    spared: int = 0
    """What was condemned and stayed, because somebody came to rely on it."""
    kept_young: int = 0
    """What nothing needs and stays because it is younger than the grace period."""
    clock_jump_seconds: float = 0.0
    """How much of the time since the grace period is in doubt and makes nothing old."""
    kept_pinned: int = 0
    """What nothing needs and stays because a spare was there before the run."""
    kept_untagged: int = 0
    """Manifests that stay although no tag leads to them: the run was not asked to remove these."""
    rounds: int = 0
    round_items: int = 0
    """How many things the present round is about."""
    round_done: int = 0
    """How many of them it has decided on."""
    unreadable: int = 0
    """What lies where repositories, tags or revisions lie and cannot be read; then no data is removed unless asked."""
    blobs_held: int = 0
    """Data that stays because of it and would go otherwise."""
    bytes_held: int = 0
    problem_count: int = 0
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    current: str = ""
    """The repository that was looked at last."""
    by_repository: dict[str, RepositoryReport] = field(default_factory=dict)
    """Only those with garbage."""

    def count_removal(self, item: Item, sign: int) -> None:
        """Count something that was removed, or, with a `sign` of -1, put back."""
        if item.name is None:
            self.blobs_removed += sign
            self.bytes_removed += sign * item.size
            return
        counter = _COUNTERS[item.kind]
        part = self.by_repository.setdefault(item.name, RepositoryReport())
        for where in (self, part):
            setattr(where, counter, getattr(where, counter) + sign)

    def note_problem(self, text: str) -> None:
        """Count something that is not as a registry leaves it, and tell it if there is room."""
        self.problem_count += 1
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(text)

    def note_unreadable(self, text: str) -> None:
        """Count something of which nobody can tell all that it needs."""
        self.unreadable += 1
        self.note_problem(text)

    def as_json(self) -> Mapping[str, Any]:
        """Return it ready for JSON."""
        return asdict(self)


Observer = Callable[[CollectionReport], None]
"""Called again and again while a run goes on, with the same report; it only looks, and returns soon."""


def ignore(_report: CollectionReport) -> None:
    """Observe nothing."""
