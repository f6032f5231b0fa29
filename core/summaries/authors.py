"""Who pushed each tag, and when: from the changes that were recorded."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from core.model.digest import Digest
from core.model.names import Tag
from core.summaries.changes import Change, ChangeKind, ChangeRecord
from core.summaries.history import History

_CREATING = (ChangeKind.PUSH, ChangeKind.RESTORE)


@dataclass(frozen=True, slots=True)
class Author:
    """The last recorded push of a tag."""

    digest: Digest
    at: datetime
    record: str
    """The id of the record."""
    by: str


class Authors:
    """The last recorded push of each tag of a repository, kept by one process."""

    def __init__(self) -> None:
        self._by_tag: dict[Tag, Author] = {}

    def of(self, tag: Tag, digest: Digest) -> Author | None:
        """Return the last recorded push of a tag, if it pointed the tag at this manifest."""
        author = self._by_tag.get(tag)
        return author if author is not None and author.digest == digest else None

    def add(self, changes: Iterable[tuple[ChangeRecord, Sequence[Change]]], tags: Collection[Tag]) -> set[Tag]:
        """Add changes of existing tags; return the tags whose last push is a new one."""
        return {
            change.tag
            for record, found in changes
            for change in found
            if change.tag in tags and change.tag and change.digest and change.kind in _CREATING
            if self._replace(change.tag, Author(change.digest, change.at, record.id, change.by))
        }

    def add_history(self, history: History | None, tags: Iterable[Tag]) -> set[Tag]:
        """Add the folded changes of existing tags; return the tags whose last push is a new one."""
        if history is None:
            return set()
        updated = set()
        for tag in tags:
            entry = next((each for each in history.of(tag) if each.is_creation and each.digest), None)
            if entry is None or entry.digest is None:
                continue
            if self._replace(tag, Author(entry.digest, entry.at, entry.id, entry.by)):
                updated.add(tag)
        return updated

    def _replace(self, tag: Tag, author: Author) -> bool:
        old = self._by_tag.get(tag)
        if old is not None and (author.at, author.record) <= (old.at, old.record):
            return False
        self._by_tag[tag] = author
        return True
