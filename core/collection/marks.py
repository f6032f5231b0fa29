"""What a run has found out: what is needed, which links it has seen, and which manifests are garbage.

Bounded however large the store is: what is needed goes into a filter of fixed size, and each link that was seen takes
eight bytes. A link counts as seen only as it was: written again, it has another time and is new.
"""

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from core.collection.bloom import BYTES_DEFAULT, BloomFilter
from core.digest import Digest
from core.names import RepositoryName

_HASH_BYTES: Final = 8
_HASHES: Final = "Q"
"""The type of an array whose numbers take as many bytes as a hash."""


class RepositoryMarks:
    """What is known of one repository; lives as long as the run.

    Args:
        name: the repository.
        key: makes the hashes of this run.
    """

    def __init__(self, name: RepositoryName, key: bytes) -> None:
        self.name = name
        self.is_dirty = False
        """Whether something in it may have to go."""
        self._key = key
        self._seen = array(_HASHES)
        self._new: set[int] = set()
        self._garbage: set[int] = set()
        self._returned: set[int] = set()

    def has_seen(self, link: str, modified_at: datetime) -> bool:
        """Whether this link was met before, just as old."""
        link_hash = self._hash(link, modified_at)
        position = bisect_left(self._seen, link_hash)
        return (position < len(self._seen) and self._seen[position] == link_hash) or link_hash in self._new

    def see(self, link: str, modified_at: datetime) -> None:
        """Note a link."""
        self._new.add(self._hash(link, modified_at))

    def pack(self) -> None:
        """Have what is known take little room."""
        if self._new:
            self._seen = array(_HASHES, sorted(self._new.union(self._seen)))
            self._new = set()

    @property
    def is_empty(self) -> bool:
        """Whether no link was seen here."""
        return not self._seen and not self._new

    def condemn(self, manifest: Digest) -> None:
        """Note that nothing needs a manifest."""
        self._garbage.add(_short(manifest))
        self.is_dirty = True

    def keep(self, manifest: Digest) -> None:
        """Note that something needs a manifest, even if nothing seemed to."""
        self._garbage.discard(_short(manifest))

    def is_garbage(self, manifest: Digest) -> bool:
        """Whether nothing needs a manifest that was seen here."""
        return _short(manifest) in self._garbage

    def note_return(self, manifest: Digest) -> None:
        """Note that a manifest came, or came back, after the first look."""
        self._returned.add(_short(manifest))

    def has_returned(self, manifest: Digest) -> bool:
        """Whether a manifest came after the first look."""
        return _short(manifest) in self._returned

    def dump(self) -> tuple[bytes, bytes]:
        """Return the links that were seen and the garbage, for `load`."""
        self.pack()
        return self._seen.tobytes(), array(_HASHES, self._garbage).tobytes()

    def load(self, seen: bytes, garbage: bytes) -> None:
        """Take up what was dumped."""
        self._seen = array(_HASHES, seen)
        self._garbage = set(array(_HASHES, garbage))

    def _hash(self, link: str, modified_at: datetime) -> int:
        text = f"{link} {modified_at.isoformat()}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=_HASH_BYTES, key=self._key).digest(), "big")


class Marks:
    """What is known of the whole store.

    Args:
        key: makes hashes and the filter's mistakes different from those of other runs.
        needed: what is needed so far; nothing unless given.
    """

    def __init__(self, key: bytes, *, needed: BloomFilter | None = None, filter_bytes: int = BYTES_DEFAULT) -> None:
        self.key = key
        self.needed = needed or BloomFilter(key, size=filter_bytes)
        self._repositories: dict[RepositoryName, RepositoryMarks] = {}

    def repository(self, name: RepositoryName) -> RepositoryMarks:
        """Return what is known of a repository; nothing for one that was not looked at."""
        found = self._repositories.get(name)
        if found is None:
            found = self._repositories[name] = RepositoryMarks(name, self.key)
        return found

    def repositories(self) -> Iterable[RepositoryMarks]:
        """Return what is known of each repository."""
        return self._repositories.values()

    def empty(self) -> list[RepositoryName]:
        """Return the repositories that hold no link at all."""
        return [name for name, known in self._repositories.items() if known.is_empty]

    def dirty(self) -> list[RepositoryName]:
        """Return the repositories in which something may have to go, in ascending order."""
        return sorted(name for name, known in self._repositories.items() if known.is_dirty)

    def need_blob(self, name: RepositoryName, digest: Digest) -> None:
        """Note that a repository needs a blob: the data, and the repository's link to it."""
        self.needed.add(digest)
        self.needed.add(f"{name}@{digest}")

    def need_data(self, digest: Digest) -> None:
        """Note that the data of a blob or a manifest is needed."""
        self.needed.add(digest)

    def needs_data(self, digest: Digest) -> bool:
        """Whether the data of a blob or a manifest may be needed; False is certain."""
        return digest in self.needed

    def needs_link(self, name: RepositoryName, digest: Digest) -> bool:
        """Whether a repository's link to a blob may be needed; False is certain."""
        return f"{name}@{digest}" in self.needed


def _short(digest: Digest) -> int:
    return int(digest.encoded[:16], 16)
