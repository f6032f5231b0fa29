"""What a copy tells of itself: how far it is, and what it could not copy."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from core.names import RepositoryName


class Trouble(StrEnum):
    """Why something of the source is not at the target."""

    DAMAGED = "damaged"
    """The data does not hash to its digest."""
    MISSING = "missing"
    """A link is there, and what it points at is not."""
    NO_LINK = "no-link"
    """A link holds no digest."""
    INCOMPLETE = "incomplete"
    """It is whole itself, and refers to what could not be copied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that the source cannot give, which the target therefore does not have."""

    trouble: Trouble
    repository: RepositoryName
    subject: str
    """A digest, a tag, or a key where neither can be read."""
    text: str

    def line(self) -> str:
        """Return it as a line of text."""
        return f"{self.repository}: {self.subject}: {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferProgress:
    """How far one pass of a copy is; in a dry run, what a pass would do."""

    repositories: int = 0
    """That were compared so far."""
    repository: str = ""
    """The one that was begun last."""
    bytes_expected: int | None = None
    """About how many bytes have to be sent, or None where that is not known."""
    bytes_sent: int = 0
    blobs_sent: int = 0
    """Layers, configs and other blobs; manifests are counted as such."""
    blobs_present: int = 0
    """That a repository did not link yet and whose data the target had."""
    layers_linked: int = 0
    manifests_copied: int = 0
    tags_copied: int = 0
    """New ones, moved ones, and ones of which only the history differed."""
    deleted: int = 0
    """Links and tags that were removed at the target."""
    extra: int = 0
    """Links, tags and repositories of the target that the source does not have and that were left there."""
    ignored: int = 0
    """Objects of the source that are none of a registry."""
    problems: int = 0

    @property
    def changes(self) -> int:
        """How many things were not at the target as they are at the source; 0 when nothing was to do."""
        return self.layers_linked + self.manifests_copied + self.tags_copied + self.deleted + self.blobs_sent


class Tally:
    """Counts, and tells the two listeners; one per pass.

    Args:
        observe: called with each new state, thousands of times a second at most.
        report: called with each problem when it is found.
    """

    def __init__(self, *, observe: Callable[[TransferProgress], None], report: Callable[[Problem], None]) -> None:
        self._observe = observe
        self._report = report
        self.progress = TransferProgress()

    def expect(self, size: int) -> None:
        """Set about how many bytes there are to send."""
        self._set(replace(self.progress, bytes_expected=size))

    def begin(self, name: RepositoryName) -> None:
        """Note that a repository is being compared."""
        self._set(replace(self.progress, repository=name, repositories=self.progress.repositories + 1))

    def add(self, **counts: int) -> None:
        """Add to the counts of these names."""
        self._set(replace(self.progress, **{name: getattr(self.progress, name) + n for name, n in counts.items()}))

    def complain(self, trouble: Trouble, name: RepositoryName, subject: str, text: str) -> None:
        """Report a problem and count it."""
        self._report(Problem(trouble=trouble, repository=name, subject=subject, text=text))
        self.add(problems=1)

    def _set(self, progress: TransferProgress) -> None:
        self.progress = progress
        self._observe(progress)
