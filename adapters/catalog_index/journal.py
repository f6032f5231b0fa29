"""What several indexes need to replace their whole set while it goes on changing."""

from collections.abc import Iterator
from contextlib import contextmanager

from core.names import RepositoryName


class ChangeJournal:
    """Remembers the changes that are made while a replacement reads its names; belongs to one event loop.

    Such a change is newer than what the replacement read, so it wins.
    """

    def __init__(self) -> None:
        self._open: list[dict[str, bool]] = []

    def note(self, name: RepositoryName, *, present: bool) -> None:
        """Tell every replacement under way that `name` was added or removed; call it before doing so."""
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
            # By identity: two replacements may have noted the same changes.
            self._open = [other for other in self._open if other is not changes]
