"""The record beside a cached tag: its target at the last check, and the time of that check.

The record is an object of its own, so that it survives a restart and all workers and replicas share it. It describes a
tag, but does not make it exist: without the tag's link, or with a link to another manifest, the record counts for
nothing. So code that removes or moves a tag need not know about records.
"""

import json
import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from core.errors import DigestInvalidError, ObjectNotFoundError, ObjectTooLargeError
from core.json_text import load_json
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.ports.blob_storage import BlobStorage
from core.store import layout

_logger = logging.getLogger(__name__)

_BYTES_MAX: Final = 16 * 1024
_TEXT_LENGTH_MAX: Final = 1024
"""A longer validator is dropped: the next check then costs an answer with a body."""
_ENTRIES_MAX: Final = 20_000
"""Records in memory; each has about 600 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TagState:
    """The answer of the upstream to the last question for a tag."""

    digest: Digest
    """The target of the tag, or, if the upstream no longer has the tag, its last target."""
    checked_at: datetime
    """Time of the question, UTC-aware, by the clock of the process that asked."""
    etag: str | None = None
    media_type: str = ""
    is_absent: bool = False
    """Whether the upstream answered that it does not have the tag."""

    def age(self, now: datetime) -> float:
        """Return the seconds since the check."""
        return (now - self.checked_at).total_seconds()

    def is_fresh(self, now: datetime, seconds: float) -> bool:
        """Whether the tag was checked less than `seconds` ago; a check in the far future does not count."""
        return abs(now - self.checked_at) < timedelta(seconds=seconds)

    def encode(self) -> bytes:
        """Return the stored form."""
        etag = self.etag if self.etag and len(self.etag) <= _TEXT_LENGTH_MAX else None
        document = {
            "digest": self.digest,
            "checked": self.checked_at.isoformat(),
            "etag": etag,
            "mediaType": self.media_type[:_TEXT_LENGTH_MAX],
            "absent": self.is_absent,
        }
        return json.dumps(document).encode()

    @classmethod
    def decode(cls, content: bytes) -> "TagState":
        """Parse the stored form.

        Raises:
            ValueError: the content is not a record.
        """
        try:
            document = load_json(content)
            checked_at = datetime.fromisoformat(document["checked"])
            if checked_at.tzinfo is None:
                raise ValueError("the time has no zone")
            return cls(
                digest=Digest(document["digest"]),
                checked_at=checked_at,
                etag=document["etag"] and str(document["etag"]),
                media_type=str(document["mediaType"]),
                is_absent=bool(document["absent"]),
            )
        except (KeyError, TypeError, DigestInvalidError) as error:
            raise ValueError(f"not the record of a tag: {error}") from error


class TagStates:
    """Reads and writes the records, with a bounded memory of them; one per process.

    Args:
        storage: the store that all replicas share.
        entries_max: number of records in memory.
    """

    def __init__(self, storage: BlobStorage, *, entries_max: int = _ENTRIES_MAX) -> None:
        self._storage = storage
        self._entries_max = entries_max
        self._known: OrderedDict[tuple[RepositoryName, Tag], TagState] = OrderedDict()

    def recall(self, name: RepositoryName, tag: Tag) -> TagState | None:
        """Return the record that this process last read or wrote, or None. No storage request."""
        return self._known.get((name, tag))

    async def read(self, name: RepositoryName, tag: Tag) -> TagState | None:
        """Return the record, or None if there is none or it is torn. One storage request."""
        key = layout.upstream_tag(name, tag)
        try:
            state = TagState.decode(await self._storage.read(key, limit=_BYTES_MAX))
        except ObjectNotFoundError:
            self._known.pop((name, tag), None)
            return None
        except (ValueError, ObjectTooLargeError) as error:
            _logger.warning("record of a cached tag ignored: %s", error, extra={"key": key})
            return None
        self.remember(name, tag, state)
        return state

    async def write(self, name: RepositoryName, tag: Tag, state: TagState) -> None:
        """Replace the record. One storage request. A record lost in a power cut costs one more check."""
        self.remember(name, tag, state)
        await self._storage.write(layout.upstream_tag(name, tag), state.encode(), durable=False)

    def remember(self, name: RepositoryName, tag: Tag, state: TagState) -> None:
        """Keep a record in memory only."""
        self._known[name, tag] = state
        self._known.move_to_end((name, tag))
        if len(self._known) > self._entries_max:
            self._known.popitem(last=False)

    async def remove(self, name: RepositoryName, tags: Sequence[Tag]) -> None:
        """Remove the records of deleted tags. Idempotent. One storage request per 1,000 tags."""
        for tag in tags:
            self._known.pop((name, tag), None)
        if tags:
            await self._storage.delete([layout.upstream_tag(name, tag) for tag in tags])

    async def remove_all(self, name: RepositoryName) -> None:
        """Remove all records of a deleted repository. Idempotent. One listing, and one request per 1,000 records."""
        for known in [key for key in self._known if key[0] == name]:
            del self._known[known]
        await self._storage.delete_tree(layout.upstream(name))
        await self._storage.prune([layout.upstream(name)], below=layout.REPOSITORIES)
