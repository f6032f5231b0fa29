"""Checkpoints: the saved state from which a run continues if an earlier one was killed while marking.

A checkpoint is three objects of one generation: the filter, the links that were seen, and the state. The state is
written last and names the generation. A checkpoint may be of any age: the run finds later changes when it marks again.
"""

import json
import zlib
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from core.collection.bloom import BloomFilter
from core.collection.marks import Marks
from core.collection.report import CollectionReport
from core.content_source import Offload
from core.errors import NameInvalidError, ObjectNotFoundError
from core.model.names import RepositoryName
from core.ports.blob_storage import BlobStorage
from core.store import layout

_BYTES_MAX: Final = 1024 * 1024 * 1024
_STATE: Final = "state"
COUNTS: Final = (
    *("repositories", "manifests", "tags", "unreadable", "kept_young", "kept_pinned", "kept_untagged"),
    "problem_count",
)
"""The counts of a report that marking computes."""
_SAVED: Final = (*COUNTS, "problems")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Progress of a run."""

    began_at: datetime
    """Start of the run, by the store's clock."""
    cursor: str
    """The last repository that was marked. All repositories before it are marked too."""
    is_marked: bool
    """Whether all repositories are marked."""
    terms: str
    """The options of the run. A run with other options does not continue from this checkpoint."""


class Checkpoints:
    """Reads and writes the only checkpoint of a store; used by the process that collects.

    Args:
        storage: where the checkpoint is stored.
        offload: runs `function(*arguments)` in a thread, because compressing the filter takes 0.1 s.
    """

    def __init__(self, storage: BlobStorage, *, offload: Offload | None = None) -> None:
        self._storage = storage
        self._offload = offload
        self._generation = 0

    async def save(self, progress: Progress, marks: Marks, report: CollectionReport) -> None:
        """Replace the checkpoint. Four storage requests; writes the compressed filter and eight bytes per link."""
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
        """Return the saved progress and marks, or None if there is no usable checkpoint.

        Sets the counts and problems of `report` to the saved values.
        """
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
            # Written by another version, or incomplete: the run starts from the beginning.
            return None
        for name, count in counts.items():
            setattr(report, name, count)
        return _progress(state), marks

    async def clear(self) -> None:
        """Delete the checkpoint. Two storage requests."""
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
    """Return, for each repository, a header line with the lengths of its parts, followed by the parts."""
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
