"""Checkpoints: what a run goes on from that was killed while it read the store.

A checkpoint is three objects of one generation: the filter, the links that were seen, and the state, which is written
last and names the generation. It may be of any age: what has come since is found when the store is looked at again.
"""

import json
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from core import layout
from core.collection.bloom import BloomFilter
from core.collection.marks import Marks
from core.collection.report import CollectionReport
from core.errors import NameInvalidError, ObjectNotFoundError
from core.names import RepositoryName
from core.ports.blob_storage import BlobStorage

_BYTES_MAX: Final = 1024 * 1024 * 1024
_STATE: Final = "state"
COUNTS: Final = (
    *("repositories", "manifests", "tags", "unreadable", "kept_young", "kept_pinned", "kept_untagged"),
    "problem_count",
)
"""The numbers of a report that marking makes."""
_SAVED: Final = (*COUNTS, "problems")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is."""

    began_at: datetime
    """By the store's clock."""
    cursor: str
    """The last repository that was read; those up to it were."""
    is_marked: bool
    """Whether all were."""
    terms: str
    """What the run was asked for: one that was asked for something else does not go on from it."""


class Checkpoints:
    """Keeps the one checkpoint of a store; used by the one that collects.

    Args:
        storage: where it is.
        offload: runs `function(*arguments)` in a thread: compressing the filter takes a tenth of a second.
    """

    def __init__(self, storage: BlobStorage, *, offload: Callable[..., Awaitable[Any]] | None = None) -> None:
        self._storage = storage
        self._offload = offload
        self._generation = 0

    async def save(self, progress: Progress, marks: Marks, report: CollectionReport) -> None:
        """Replace the checkpoint. Four storage requests, and as many bytes as the filter and the links take."""
        old, self._generation = self._generation, self._generation + 1
        needed = await self._offload(marks.needed.dump) if self._offload else marks.needed.dump()
        await self._storage.write(self._key("filter"), needed)
        await self._storage.write(self._key("links"), _dump_links(marks))
        state = asdict(progress) | {
            "began_at": progress.began_at.isoformat(),
            "key": marks.key.hex(),
            "generation": self._generation,
            "report": {name: getattr(report, name) for name in _SAVED},
        }
        await self._storage.write(layout.collection_checkpoint(_STATE), json.dumps(state).encode())
        await self._storage.delete([layout.collection_checkpoint(f"{part}.{old}") for part in ("filter", "links")])

    async def load(self, report: CollectionReport) -> tuple[Progress, Marks] | None:
        """Return what was saved last, or None where there is nothing that one can go on from."""
        try:
            content = await self._storage.read(layout.collection_checkpoint(_STATE), limit=_BYTES_MAX)
            state = json.loads(content)
            self._generation = int(state["generation"])
            needed = await self._storage.read(self._key("filter"), limit=_BYTES_MAX)
            links = await self._storage.read(self._key("links"), limit=_BYTES_MAX)
            key = bytes.fromhex(state["key"])
            marks = Marks(key, needed=BloomFilter.load(key, needed))
            _load_links(marks, links)
            counts = {name: state["report"][name] for name in _SAVED}
        except (ObjectNotFoundError, ValueError, KeyError, TypeError, zlib.error, NameInvalidError):
            # Of another version, or torn: the run begins anew.
            return None
        for name, count in counts.items():
            setattr(report, name, count)
        return _progress(state), marks

    async def clear(self) -> None:
        """Have no checkpoint. Two storage requests."""
        await self._storage.delete_tree(layout.COLLECTION)

    def _key(self, part: str) -> str:
        return layout.collection_checkpoint(f"{part}.{self._generation}")


def _progress(state: dict[str, Any]) -> Progress:
    return Progress(
        began_at=datetime.fromisoformat(state["began_at"]),
        cursor=state["cursor"],
        is_marked=state["is_marked"],
        terms=state["terms"],
    )


def _dump_links(marks: Marks) -> bytes:
    """Write for each repository a line that says how long its parts are, and the parts."""
    pieces: list[bytes] = []
    for repository in marks.repositories():
        seen, garbage = repository.dump()
        head = f"{repository.name} {int(repository.is_dirty)} {len(seen)} {len(garbage)}\n"
        pieces += (head.encode(), seen, garbage)
    return b"".join(pieces)


def _load_links(marks: Marks, content: bytes) -> None:
    position = 0
    while position < len(content):
        end = content.index(b"\n", position)
        name, is_dirty, seen, garbage = content[position:end].decode().split(" ")
        middle = end + 1 + int(seen)
        position = middle + int(garbage)
        repository = marks.repository(RepositoryName(name))
        repository.load(content[end + 1 : middle], content[middle:position])
        repository.is_dirty = is_dirty == "1"
