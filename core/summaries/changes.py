"""The record of changes: who pushed, moved or deleted which tag, and when.

Each operation writes one object after its change is stored. The objects are the source of the tag history and of
`pushed by`, and show all processes which repositories changed. A background job folds them (`core.summaries.folding`).
"""

import json
import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from core.concurrency import closing, map_bounded, slices
from core.errors import (
    DigestInvalidError,
    NameInvalidError,
    ObjectNotFoundError,
    ObjectTooLargeError,
    StorageError,
    TagInvalidError,
)
from core.json_text import load_json
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.ports.blob_storage import BlobStorage
from core.store import summary_keys
from core.summaries.sharing import SharedLooks

_logger = logging.getLogger(__name__)

LISTED_MAX: Final = 20_000
"""Maximum number of records that a process lists; more accumulate only if no replica folds them."""
_TIME: Final = "%Y%m%dT%H%M%S.%fZ"
_RECORD: Final = re.compile(r"\d{8}T\d{6}\.\d{6}Z-[A-Za-z0-9-]+(?:_[a-zS0-9._-]+)?", re.ASCII)
_TAGS_PER_RECORD: Final = 1_000
_RECORD_BYTES_MAX: Final = 1024 * 1024
_USER_LENGTH_MAX: Final = 256
_RECORDED_MAX: Final = 10_000
"""Maximum number of tags whose recorded targets a process keeps in memory, about 3 MB."""
_REMEMBERED_MAX: Final = 20_000
"""Maximum number of changes that a process keeps in memory, about 10 MB."""


class ChangeKind(StrEnum):
    """The kind of a change."""

    PUSH = "push"
    """The tag points at the manifest since then."""
    DELETE = "delete"
    """The tag was deleted; it pointed at the manifest."""
    RESTORE = "restore"
    """The tag was restored from the trash."""
    OTHER = "other"
    """The repository may have changed; the history of no tag shows it."""


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
        is_enabled: whether changes are recorded.
    """

    def __init__(
        self,
        storage: BlobStorage,
        *,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
        is_enabled: bool = True,
    ) -> None:
        self._is_enabled = is_enabled
        self._storage = storage
        self._now = now
        self._new_id = new_id
        self._recorded: OrderedDict[tuple[RepositoryName, Tag], Digest] = OrderedDict()
        """The last recorded targets of tags."""

    async def record_repetition(self, name: RepositoryName, tags: Sequence[tuple[Tag, Digest]], *, by: str) -> None:
        """Record a push that moved no tag, unless this process recorded the push that moved them.

        The process that moved them may have been killed before its record. The repetition changes no tag.
        """
        if any(self._recorded.get((name, tag)) != digest for tag, digest in tags):
            await self.record(ChangeKind.OTHER, name, tags=tags, by=by)

    async def record(
        self,
        kind: ChangeKind,
        repository: RepositoryName,
        *,
        tags: Sequence[tuple[Tag | None, Digest | None]] = (),
        by: str,
    ) -> None:
        """Record a change that is already stored. One storage request per 1,000 tags; never fails the operation.

        A record that cannot be written is lost: lists find the change in the store, without its author.
        """
        if not self._is_enabled:
            return
        at = self._now()
        changes = [
            Change(kind=kind, at=at, repository=repository, tag=tag, digest=digest, by=by[:_USER_LENGTH_MAX])
            for tag, digest in tags or [(None, None)]
        ]
        try:
            for some in slices(changes, _TAGS_PER_RECORD):
                record = summary_keys.change_record(f"{at.strftime(_TIME)}-{self._new_id()}", repository)
                await self._storage.write(summary_keys.change(record), _encode(repository, some), durable=False)
                self._remember(some)
        except StorageError as error:
            _logger.warning("change not recorded: %s", error, extra={"repository": repository})

    def _remember(self, changes: Iterable[Change]) -> None:
        for change in changes:
            if change.tag is None or change.digest is None:
                continue
            self._recorded.pop((change.repository, change.tag), None)
            if change.kind is not ChangeKind.DELETE:
                self._recorded[change.repository, change.tag] = change.digest
        while len(self._recorded) > _RECORDED_MAX:
            self._recorded.popitem(last=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRecord:
    """A record of changes as it is listed; nothing of it was read."""

    name: str
    """The last component of its key."""
    id: str
    """Begins with the time; unique."""
    repository: RepositoryName | None
    """The repository that changed; None if its name is too long for the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeListing:
    """The records that are not folded yet, oldest first by the clocks of their processes."""

    records: Sequence[ChangeRecord]
    is_complete: bool = True
    """Whether all records are listed; false if there are more than `LISTED_MAX`."""

    @property
    def names(self) -> frozenset[str]:
        """The names of the records."""
        return frozenset(record.name for record in self.records)


class ChangeLog:
    """Reads the changes that are not folded yet; one per process. A record never changes, so each is read once.

    Args:
        storage: the store.
    """

    def __init__(self, storage: BlobStorage) -> None:
        self._storage = storage
        self._read: dict[str, Sequence[Change]] = {}
        self._weight = 0
        self._listings: SharedLooks[None, ChangeListing] = SharedLooks()
        self._listed: dict[str, ChangeRecord] = {}
        """The records of the last listing by name: most of them are listed again."""

    async def listing(self) -> ChangeListing:
        """List the records; callers at the same time share a listing. One storage request per 1,000."""
        return await self._listings.run(None, self._list)

    async def _list(self) -> ChangeListing:
        before, listed = self._listed, dict[str, ChangeRecord]()
        is_complete = True
        async with closing(self._storage.list_children(summary_keys.CHANGES)) as names:
            async for name in names:
                if (record := before.get(name) or parse_record(name)) is None:
                    continue
                if len(listed) == LISTED_MAX:
                    is_complete = False
                    break
                listed[name] = record
        self._listed = listed
        return ChangeListing(records=list(listed.values()), is_complete=is_complete)

    async def by_repository(self, records: Iterable[ChangeRecord]) -> Mapping[RepositoryName | None, set[str]]:
        """Return the names of the records of each repository; those of None were folded since they were listed.

        Costs one storage request for each record of a long repository name that was not read before.
        """
        found: dict[RepositoryName | None, set[str]] = {}
        for record in records:
            name = record.repository
            if name is None:
                changes = await self.read(record)
                name = changes[0].repository if changes else None
            found.setdefault(name, set()).add(record.name)
        return found

    async def changes(
        self, listing: ChangeListing, name: RepositoryName
    ) -> Sequence[tuple[ChangeRecord, Sequence[Change]]]:
        """Return the listed records of a repository with their changes, oldest first.

        Costs one storage request for each record that was not read before. Folded records may be missing.
        """
        records = [record for record in listing.records if record.repository in {name, None}]
        found = zip(records, await map_bounded(self.read, records), strict=True)
        return [(record, changes) for record, changes in found if changes and changes[0].repository == name]

    async def read(self, record: ChangeRecord) -> Sequence[Change]:
        """Return the changes of a record; none if it was folded or cannot be read, which is logged once.

        At most one storage request.
        """
        known = self._read.get(record.name)
        if known is not None:
            return known
        try:
            content = await self._storage.read(summary_keys.change(record.name), limit=_RECORD_BYTES_MAX)
        except ObjectNotFoundError:
            return ()
        except ObjectTooLargeError:
            content = b""
        changes = _decode(content, record)
        if not changes:
            _logger.warning("change ignored: its record cannot be read", extra={"record": record.name})
        self._keep(record.name, changes)
        return changes

    def _keep(self, name: str, changes: Sequence[Change]) -> None:
        self._read[name] = changes
        self._weight += 1 + len(changes)
        while self._weight > _REMEMBERED_MAX:
            oldest = next(iter(self._read))
            self._weight -= 1 + len(self._read.pop(oldest))


def parse_record(name: str) -> ChangeRecord | None:
    """Return the record whose key ends with `name`; None for an object of another program."""
    if not _RECORD.fullmatch(name):
        return None
    record_id, repository = summary_keys.parse_change_record(name)
    return ChangeRecord(name=name, id=record_id, repository=repository)


def _encode(repository: RepositoryName, changes: Iterable[Change]) -> bytes:
    document = {"repository": repository, "changes": [change.as_json() for change in changes]}
    return json.dumps(document, separators=(",", ":")).encode()


def _decode(content: bytes, record: ChangeRecord) -> Sequence[Change]:
    try:
        document = load_json(content)
        repository = RepositoryName(document["repository"])
        changes = tuple(_parse(document["changes"], repository))
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        NameInvalidError,
        TagInvalidError,
        DigestInvalidError,
    ):
        return ()
    return changes if record.repository in {repository, None} else ()


def _parse(entries: Iterable[dict[str, str]], repository: RepositoryName) -> Iterator[Change]:
    for entry in entries:
        at = datetime.fromisoformat(entry["at"])
        if at.tzinfo is None:
            raise ValueError("a time without a zone")
        yield Change(
            kind=ChangeKind(entry["kind"]),
            at=at,
            repository=repository,
            tag=Tag(entry["tag"]) if "tag" in entry else None,
            digest=Digest(entry["digest"]) if "digest" in entry else None,
            by=str(entry.get("by", "")),
        )
