"""Progress and problems of a copy."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from core.model.names import RepositoryName


class Trouble(StrEnum):
    """Reason why content of the source is not at the target."""

    DAMAGED = "damaged"
    """The data does not hash to its digest."""
    MISSING = "missing"
    """A link exists, but the content it points to does not."""
    NO_LINK = "no-link"
    """A link holds no digest."""
    INCOMPLETE = "incomplete"
    """The content itself is intact but refers to content that could not be copied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferProblem:
    """Content that the source does not have intact, and that the target therefore lacks."""

    trouble: Trouble
    repository: RepositoryName
    subject: str
    """A digest, a tag, or a key if neither can be read."""
    text: str

    def line(self) -> str:
        """Return the problem as a line of text."""
        return f"{self.repository}: {self.subject}: {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferProgress:
    """Counts of one pass of a copy; in a dry run, of the changes a pass would make."""

    repositories: int = 0
    """Repositories whose comparison has begun."""
    repository: str = ""
    """The repository that was begun last."""
    bytes_expected: int | None = None
    """Approximate bytes to send, or None if unknown."""
    bytes_sent: int = 0
    blobs_sent: int = 0
    """Layers, configs and other blobs, but not manifests."""
    blobs_present: int = 0
    """Blobs that a repository newly links and whose data the target already had."""
    layers_linked: int = 0
    manifests_copied: int = 0
    tags_copied: int = 0
    """New tags, moved tags, and tags that differ only in their history."""
    deleted: int = 0
    """Links and tags removed at the target."""
    extra: int = 0
    """Links, tags and repositories that only the target has and that were kept."""
    ignored: int = 0
    """Objects of the source that do not belong to a registry."""
    problems: int = 0

    @property
    def changes(self) -> int:
        """Number of changes at the target; 0 if there was nothing to do."""
        return self.layers_linked + self.manifests_copied + self.tags_copied + self.deleted + self.blobs_sent


class Tally:
    """Counts the work of a pass, and notifies two callbacks. One per pass.

    Args:
        observe: called with each new state, up to thousands of times a second.
        report: called with each problem when it is found.
    """

    def __init__(
        self, *, observe: Callable[[TransferProgress], None], report: Callable[[TransferProblem], None]
    ) -> None:
        self._observe = observe
        self._report = report
        self.progress = TransferProgress()

    def expect(self, size: int) -> None:
        """Set the approximate number of bytes to send."""
        self._set(replace(self.progress, bytes_expected=size))

    def begin(self, name: RepositoryName) -> None:
        """Record that the comparison of a repository begins."""
        self._set(replace(self.progress, repository=name, repositories=self.progress.repositories + 1))

    def add(self, **counts: int) -> None:
        """Add to the counts of these names."""
        self._set(replace(self.progress, **{name: getattr(self.progress, name) + n for name, n in counts.items()}))

    def add_problem(self, trouble: Trouble, name: RepositoryName, subject: str, text: str) -> None:
        """Report a problem and count it."""
        self._report(TransferProblem(trouble=trouble, repository=name, subject=subject, text=text))
        self.add(problems=1)

    def _set(self, progress: TransferProgress) -> None:
        self.progress = progress
        self._observe(progress)
