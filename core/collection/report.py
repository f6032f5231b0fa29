"""Report of a run: counts for operators, logs, metrics and `--json`."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

from core.collection.items import Item, ItemKind

PROBLEMS_MAX: Final = 1_000
"""Maximum number of problems kept as text. All are counted."""


_COUNTERS: Final = {
    ItemKind.MANIFEST: "manifests_removed",
    ItemKind.LAYER: "layer_links_removed",
    ItemKind.COMPANION: "other_links_removed",
    ItemKind.REMNANT: "other_links_removed",
}


class Phase(StrEnum):
    """Phase of a run."""

    MARKING = "marking"
    """Reading the content that repositories need."""
    SETTLING = "settling"
    """Waiting after a round was published, so that servers can pin its digests."""
    LOOKING_AGAIN = "looking again"
    REMOVING = "removing"
    DONE = "done"


@dataclass(slots=True)
class RepositoryReport:
    """Items removed from one repository."""

    manifests_removed: int = 0
    layer_links_removed: int = 0
    other_links_removed: int = 0
    """Referrer links, signature links, and links in tag histories."""


@dataclass(slots=True)
class CollectionReport:
    """Counts of a run; with `is_dry_run`, of the items to remove."""

    is_dry_run: bool = False
    phase: Phase = Phase.MARKING
    repositories: int = 0
    repositories_total: int = 0
    """Repositories in the store when the run began."""
    manifests: int = 0
    tags: int = 0
    blobs: int = 0
    """Blobs and manifests whose data was examined."""
    blob_bytes: int = 0
    manifests_removed: int = 0
    layer_links_removed: int = 0
    other_links_removed: int = 0
    blobs_removed: int = 0
    bytes_removed: int = 0
    spared: int = 0
    """Candidates that stayed because a client relied on them."""
    kept_young: int = 0
    """Unneeded items that stay because they are younger than the grace period."""
    clock_jump_seconds: float = 0.0
    """Seconds that the store's clock may have jumped over and that therefore do not count as age."""
    kept_pinned: int = 0
    """Unneeded items that stay because a pin existed before the run."""
    kept_untagged: int = 0
    """Untagged manifests that stay because the run was not asked to delete them."""
    rounds: int = 0
    round_items: int = 0
    """Items in the current round."""
    round_done: int = 0
    """Items of the current round that have been removed or pinned."""
    unreadable: int = 0
    """Links and paths of repositories that cannot be read. If there are any, the run removes no data by default."""
    blobs_held: int = 0
    """Data that stays only because of `unreadable`."""
    bytes_held: int = 0
    problem_count: int = 0
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    current: str = ""
    """The repository that was marked last."""
    by_repository: dict[str, RepositoryReport] = field(default_factory=dict)
    """Only the repositories with garbage."""

    def count_removal(self, item: Item, sign: int) -> None:
        """Count a removed item or, with a `sign` of -1, a restored one."""
        if item.name is None:
            self.blobs_removed += sign
            self.bytes_removed += sign * item.size
            return
        counter = _COUNTERS[item.kind]
        part = self.by_repository.setdefault(item.name, RepositoryReport())
        for where in (self, part):
            setattr(where, counter, getattr(where, counter) + sign)

    def note_problem(self, text: str) -> None:
        """Count a problem, and keep its text unless there are too many."""
        self.problem_count += 1
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(text)

    def note_unreadable(self, text: str) -> None:
        """Count a link or path that cannot be read, also as a problem."""
        self.unreadable += 1
        self.note_problem(text)

    def as_json(self) -> Mapping[str, Any]:
        """Return the report as JSON-compatible values."""
        return asdict(self)


CollectionObserver = Callable[[CollectionReport], None]
"""Called repeatedly during a run, with the same report. Must not change the report, and must return quickly."""


def ignore(_report: CollectionReport) -> None:
    """Observe nothing."""
