"""The hints of all repositories for searches: stored in a few objects, and kept in memory while they are current.

A background job writes them (`core.summaries.folding`) before it removes the records of the changes that they include.
A hint counts as long as its repository has no record, so that no push is hidden. A repository without a hint is opened.
"""

import json
import logging
import zlib
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from core.concurrency import map_bounded
from core.content_source import Offload
from core.errors import NameInvalidError, ObjectNotFoundError, ObjectTooLargeError
from core.json_text import load_json
from core.model.names import RepositoryName
from core.ports.blob_storage import BlobStorage
from core.store import summary_keys
from core.summaries.changes import ChangeLog
from core.summaries.hints import RepositoryHint, decoded, encoded
from core.summaries.sharing import SharedLooks
from core.summaries.stored import STORED_BYTES_MAX, SummariesUnreadableError, unpack

_logger = logging.getLogger(__name__)

SHARDS: Final = 8
_LEVEL: Final = 1
_VERSION: Final = b"1"
_SHARD_BYTES_MAX: Final = 8 * 1024 * 1024
"""Maximum size of all hints of a shard; a process keeps all shards in memory."""
_TEXT_BYTES_MAX: Final = 64 * 1024 * 1024
LISTING_SECONDS: Final = 60.0
"""If the records were not listed for so long, some may have come and gone."""
RELOAD_SECONDS: Final = 600.0
"""Maximum age of the hints in memory: a daily pass corrects those of repositories that another program changed."""

Shard = Mapping[RepositoryName, RepositoryHint]
"""The hints of some repositories."""


def shard_of(name: RepositoryName) -> int:
    """Return the number of the shard that has the hint of a repository."""
    return zlib.crc32(name.encode()) % SHARDS


def encode_shard(shard: Shard, *, shard_max: int = _SHARD_BYTES_MAX) -> bytes:
    """Return the stored form of a shard; the longest hints are left out if it would become too large."""
    lines: list[str] = []
    size = 0
    for name, hint in sorted(shard.items(), key=lambda item: (item[1].size, item[0])):
        size += len(name) + hint.size
        if size > shard_max:
            break
        lines.append(json.dumps([name, decoded(hint.texts), decoded(hint.digests)], separators=(",", ":")))
    return _VERSION + b"\n" + zlib.compress("\n".join(lines).encode(), _LEVEL)


def decode_shard(content: bytes, *, size_max: int = _TEXT_BYTES_MAX) -> Shard:
    """Return the shard with this stored form. Uses bounded memory whatever the content.

    Raises:
        SummariesUnreadableError: another release wrote it, or it is damaged.
    """
    try:
        lines = unpack(content, _VERSION, size_max).decode().split("\n")
        rows = [load_json(line) for line in lines if line]
        return {RepositoryName(name): RepositoryHint(encoded(texts), encoded(digests)) for name, texts, digests in rows}
    except (ValueError, TypeError, AttributeError, NameInvalidError) as error:
        raise SummariesUnreadableError(f"{type(error).__name__}: {error}") from error


async def read_shard(storage: BlobStorage, number: int, *, offload: Offload) -> Shard:
    """Return a stored shard; an empty one if there is none, or none that can be read. One request."""
    key = summary_keys.search_hints(number)
    try:
        shard: Shard = await offload(decode_shard, await storage.read(key, limit=STORED_BYTES_MAX))
    except ObjectNotFoundError:
        return {}
    except (ObjectTooLargeError, SummariesUnreadableError) as error:
        _logger.warning("texts for searches ignored, they will be built again: %s", error, extra={"key": key})
        return {}
    return shard


async def update_shards(
    storage: BlobStorage, hints: Mapping[RepositoryName, RepositoryHint | None], *, offload: Offload
) -> None:
    """Replace the hints of these repositories; None removes one. At most two requests for each shard."""
    by_shard: dict[int, dict[RepositoryName, RepositoryHint | None]] = {}
    for name, hint in hints.items():
        by_shard.setdefault(shard_of(name), {})[name] = hint

    async def update(number: int) -> None:
        old = await read_shard(storage, number, offload=offload)
        changed = by_shard[number]
        new = {name: hint for name, hint in old.items() if name not in changed}
        new |= {name: hint for name, hint in changed.items() if hint is not None}
        if new != old:
            await storage.write(summary_keys.search_hints(number), await offload(encode_shard, new), durable=False)

    await map_bounded(update, by_shard, at_once=1)


@dataclass(frozen=True, slots=True)
class CurrentHints:
    """The hints of all repositories that have not changed since."""

    shards: Mapping[int, Shard]
    changed: AbstractSet[RepositoryName | None]
    """The repositories with records."""

    def of(self, name: RepositoryName) -> RepositoryHint | None:
        """Return the hint of a repository; None if it must be opened."""
        return None if name in self.changed else self.shards[shard_of(name)].get(name)


class SearchHints:
    """Reads the hints; one per process.

    Args:
        storage: the store.
        log: the changes that are not folded yet.
        clock: monotonic seconds.
        offload: runs a function in a thread.
    """

    def __init__(self, storage: BlobStorage, log: ChangeLog, *, clock: Callable[[], float], offload: Offload) -> None:
        self._storage = storage
        self._log = log
        self._clock = clock
        self._offload = offload
        self._shards: Mapping[int, Shard] = {}
        self._records: Mapping[str, RepositoryName | None] = {}
        """The records that were listed last, with their repositories."""
        self._listed_at = self._read_at = float("-inf")
        self._looks: SharedLooks[None, CurrentHints | None] = SharedLooks()

    async def look(self) -> CurrentHints | None:
        """Return the hints; None if there are too many records. One request when warm, and one for each old shard."""
        return await self._looks.run(None, self._look)

    async def _look(self) -> CurrentHints | None:
        now = self._clock()
        listing = await self._log.listing()
        if not listing.is_complete:
            return None
        names, changed = listing.names, await self._log.by_repository(listing.records)
        # A record that is gone was folded: its repository has a new hint. The record is removed after that.
        folded = {repository for record, repository in self._records.items() if record not in names}
        is_old = now - self._listed_at >= LISTING_SECONDS or now - self._read_at >= RELOAD_SECONDS
        if is_old or None in folded or None in changed:
            self._shards = await self._read(range(SHARDS))
            self._read_at = now
        else:
            self._shards = {**self._shards, **await self._read({shard_of(name) for name in folded if name})}
        self._records = {record: name for name, records in changed.items() for record in records}
        self._listed_at = now
        return CurrentHints(self._shards, changed.keys())

    async def _read(self, numbers: Iterable[int]) -> Mapping[int, Shard]:
        async def read(number: int) -> Shard:
            return await read_shard(self._storage, number, offload=self._offload)

        wanted = list(numbers)
        return dict(zip(wanted, await map_bounded(read, wanted), strict=True))
