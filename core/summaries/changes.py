"""The record of changes: who pushed, moved or deleted which tag, and when.

Each operation writes one object after its change is stored. The objects are the source of the tag history and of
`pushed by`, and show all processes which repositories changed. A background job folds them (`core.summaries.folding`).
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from core.errors import StorageError
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.ports.blob_storage import BlobStorage
from core.store import summary_keys

_logger = logging.getLogger(__name__)

_TIME: Final = "%Y%m%dT%H%M%S.%fZ"


class ChangeKind(StrEnum):
    """The kind of a change."""

    PUSH = "push"
    """The tag points at the manifest since then."""
    DELETE = "delete"
    """The tag was deleted; it pointed at the manifest."""
    RESTORE = "restore"
    """The tag was restored from the trash."""
    OTHER = "other"
    """The repository changed in a way that concerns no single tag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of one tag, or of a repository as a whole."""

    kind: ChangeKind
    at: datetime
    """UTC-aware, by the clock of the process that made the change."""
    repository: RepositoryName
    tag: Tag | None = None
    digest: Digest | None = None
    by: str = ""
    """The user, command or job; empty for an anonymous caller."""

    def as_json(self) -> dict[str, str]:
        """Return the stored form, without the repository."""
        members = {"kind": self.kind, "at": self.at.isoformat(), "tag": self.tag, "digest": self.digest, "by": self.by}
        return {key: str(value) for key, value in members.items() if value}


class ChangeRecorder:
    """Records changes; one per process.

    Args:
        storage: the store.
        now: returns the current time, UTC-aware.
        new_id: returns unique texts of letters, digits and `-`.
    """

    def __init__(self, storage: BlobStorage, *, now: Callable[[], datetime], new_id: Callable[[], str]) -> None:
        self._storage = storage
        self._now = now
        self._new_id = new_id

    async def record(
        self,
        kind: ChangeKind,
        repository: RepositoryName,
        *,
        tags: Sequence[tuple[Tag | None, Digest | None]] = (),
        by: str,
    ) -> None:
        """Record a change that is already stored. One storage request; never fails the operation.

        A record that cannot be written is lost: lists find the change in the store, without its author.
        """
        at = self._now()
        changes = [
            Change(kind=kind, at=at, repository=repository, tag=tag, digest=digest, by=by)
            for tag, digest in tags or [(None, None)]
        ]
        document = {"repository": repository, "changes": [change.as_json() for change in changes]}
        key = summary_keys.change(f"{at.strftime(_TIME)}-{self._new_id()}")
        try:
            await self._storage.write(key, json.dumps(document).encode(), durable=False)
        except StorageError as error:
            _logger.warning("change not recorded: %s", error, extra={"repository": repository})
