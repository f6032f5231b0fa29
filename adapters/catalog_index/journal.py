"""Journal of the changes during a replacement of all names; used by several indexes."""

from collections.abc import Iterator
from contextlib import contextmanager

from core.model.names import RepositoryName


class ChangeJournal:
    """Records the changes that are made while a replacement reads its names; belongs to one event loop.

    Such a change is newer than the names that the replacement reads, so it takes precedence.
    """

    def __init__(self) -> None:
        self._open: list[dict[str, bool]] = []

    def note(self, name: RepositoryName, *, present: bool) -> None:
        """Record in every running replacement that `name` is added or removed; call this before the change."""
        for changes in self._open:
            changes[name] = present

    @contextmanager
    def recording(self) -> Iterator[dict[str, bool]]:
        """Collect, within the block, the last change of each name: True for added."""
        changes: dict[str, bool] = {}
        self._open.append(changes)
        try:
            yield changes
        finally:
            # By identity: two replacements may have recorded equal changes.
            self._open = [other for other in self._open if other is not changes]
