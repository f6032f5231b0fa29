"""Results of marking: the digests that are needed, the links that were seen, and the manifests that are garbage.

Memory stays small for large stores: needed digests go into a filter of fixed size, and each link that was seen takes
eight bytes. A link is recorded with its time. A link that is written again has another time and counts as new.
"""

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from core.collection.bloom import BYTES_DEFAULT, BloomFilter
from core.model.digest import Digest
from core.model.names import RepositoryName

_HASH_BYTES: Final = 8
_HASHES: Final = "Q"
"""Array type code whose items are `_HASH_BYTES` long."""


class RepositoryMarks:
    """The marks of one repository, for the duration of the run.

    Args:
        name: the repository.
        key: the key of this run's hashes.
    """

    def __init__(self, name: RepositoryName, key: bytes) -> None:
        self.name = name
        self.is_dirty = False
        """Whether the repository may contain garbage."""
        self._key = key
        self._seen = array(_HASHES)
        self._new: set[int] = set()
        self._garbage: set[int] = set()
        self._returned: set[int] = set()

    def has_seen(self, link: str, modified_at: datetime) -> bool:
        """Whether this link was seen before with the same time."""
        link_hash = self._hash(link, modified_at)
        position = bisect_left(self._seen, link_hash)
        return (position < len(self._seen) and self._seen[position] == link_hash) or link_hash in self._new

    def see(self, link: str, modified_at: datetime) -> None:
        """Record a link."""
        self._new.add(self._hash(link, modified_at))

    def pack(self) -> None:
        """Compact the recorded links in memory."""
        if self._new:
            self._seen = array(_HASHES, sorted(self._new.union(self._seen)))
            self._new = set()

    @property
    def is_empty(self) -> bool:
        """Whether no link was seen."""
        return not self._seen and not self._new

    def mark_garbage(self, manifest: Digest) -> None:
        """Record that a manifest is garbage."""
        self._garbage.add(_short(manifest))
        self.is_dirty = True

    def keep(self, manifest: Digest) -> None:
        """Record that a manifest is needed, even if it was recorded as garbage."""
        self._garbage.discard(_short(manifest))

    def is_garbage(self, manifest: Digest) -> bool:
        """Whether a manifest of this repository is garbage."""
        return _short(manifest) in self._garbage

    def note_return(self, manifest: Digest) -> None:
        """Record that a manifest appeared, or reappeared, after the first marking."""
        self._returned.add(_short(manifest))

    def has_returned(self, manifest: Digest) -> bool:
        """Whether a manifest appeared after the first marking."""
        return _short(manifest) in self._returned

    def dump(self) -> tuple[bytes, bytes]:
        """Return the links that were seen, and the garbage, for `load`."""
        self.pack()
        return self._seen.tobytes(), array(_HASHES, self._garbage).tobytes()

    def load(self, seen: bytes, garbage: bytes) -> None:
        """Restore the state that `dump` returned."""
        self._seen = array(_HASHES, seen)
        self._garbage = set(array(_HASHES, garbage))

    def _hash(self, link: str, modified_at: datetime) -> int:
        text = f"{link} {modified_at.isoformat()}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=_HASH_BYTES, key=self._key).digest(), "big")


class Marks:
    """The marks of the whole store.

    Args:
        key: makes hashes and false positives differ from those of other runs.
        needed: the filter of needed digests; empty by default.
        filter_bytes: the size of an empty filter.
    """

    def __init__(self, key: bytes, *, needed: BloomFilter | None = None, filter_bytes: int = BYTES_DEFAULT) -> None:
        self.key = key
        self.needed = needed or BloomFilter(key, size=filter_bytes)
        self._repositories: dict[RepositoryName, RepositoryMarks] = {}

    def repository(self, name: RepositoryName) -> RepositoryMarks:
        """Return the marks of a repository; empty if the repository was not marked."""
        found = self._repositories.get(name)
        if found is None:
            found = self._repositories[name] = RepositoryMarks(name, self.key)
        return found

    def repositories(self) -> Iterable[RepositoryMarks]:
        """Return the marks of all repositories."""
        return self._repositories.values()

    def empty(self) -> list[RepositoryName]:
        """Return the repositories without any link."""
        return [name for name, known in self._repositories.items() if known.is_empty]

    def dirty(self) -> list[RepositoryName]:
        """Return the repositories that may contain garbage, in ascending order."""
        return sorted(name for name, known in self._repositories.items() if known.is_dirty)

    def need_blob(self, name: RepositoryName, digest: Digest) -> None:
        """Record that a repository needs a blob: the data, and the repository's link to it."""
        self.needed.add(digest)
        self.needed.add(f"{name}@{digest}")

    def need_data(self, digest: Digest) -> None:
        """Record that the data of a blob or a manifest is needed."""
        self.needed.add(digest)

    def needs_data(self, digest: Digest) -> bool:
        """Whether the data of a blob or a manifest may be needed; False is certain."""
        return digest in self.needed

    def needs_link(self, name: RepositoryName, digest: Digest) -> bool:
        """Whether a repository's link to a blob may be needed; False is certain."""
        return f"{name}@{digest}" in self.needed


def _short(digest: Digest) -> int:
    return int(digest.encoded[:16], 16)
