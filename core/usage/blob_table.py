"""The size and the repositories of each blob, kept small: 21 bytes per slot, and 32 to 64 bytes per blob."""

from array import array
from collections.abc import Iterator
from typing import Final, NamedTuple

from core.model.digest import Digest

NOBODY: Final = -1
"""Holder of a blob that no repository links."""
SEVERAL: Final = -2
"""Holder of a blob that several repositories link."""
_SHARDS: Final = 256
"""A shard grows on its own, so that no single step takes long while the process serves requests."""
_SLOTS_MIN: Final = 8
_WORD: Final = 64
_MASK: Final = (1 << _WORD) - 1


class KnownBlob(NamedTuple):
    """The state of one blob."""

    size: int
    holder: int
    """Number of the only repository that links the blob, or `NOBODY` or `SEVERAL`."""
    flags: int
    """The flags of all its links."""


class _Shard:
    """A hash table with open addressing, at most two thirds full."""

    def __init__(self, slots: int = _SLOTS_MIN) -> None:
        self.keys = array("Q", bytes(8 * slots))
        self.sizes = array("Q", bytes(8 * slots))
        self.holders = array("i", [NOBODY]) * slots
        self.flags = bytearray(slots)
        self.count = 0
        self._shift = _WORD - (slots.bit_length() - 1)

    def find(self, key: int, salt: int) -> int:
        """Return the slot of a key, or else the free slot for it."""
        last = len(self.keys) - 1
        # The upper bits of the product depend on all bits of the key.
        slot = (key * salt & _MASK) >> self._shift
        while self.keys[slot] not in {0, key}:
            slot = slot + 1 & last
        return slot

    def add(self, key: int, salt: int, known: KnownBlob) -> None:
        """Add a blob, or replace it."""
        slot = self.find(key, salt)
        self.count += not self.keys[slot]
        self.keys[slot], self.sizes[slot] = key, known.size
        self.holders[slot], self.flags[slot] = known.holder, known.flags

    @property
    def is_full(self) -> bool:
        """Whether the shard must grow before the next blob."""
        return 3 * self.count >= 2 * len(self.keys)

    def grown(self, salt: int) -> "_Shard":
        """Return a copy with twice the slots."""
        larger = _Shard(2 * len(self.keys))
        for key, known in zip(self.keys, self.blobs(), strict=True):
            if key:
                larger.add(key, salt, known)
        return larger

    def blobs(self) -> Iterator[KnownBlob]:
        """Yield the state in each slot."""
        return map(KnownBlob, self.sizes, self.holders, self.flags)


class BlobTable:
    """A table of blobs by digest. The first 64 bits stand for a digest.

    Two digests that begin with the same 64 bits are confused, so that a size may be counted for the other blob.

    Args:
        salt: an odd random number, so that a client cannot choose digests that fill neighbouring slots.
    """

    def __init__(self, salt: int) -> None:
        self._salt = salt
        self._shards = [_Shard() for _ in range(_SHARDS)]

    def add(self, digest: Digest, size: int) -> None:
        """Add a blob that no repository links so far."""
        key = _key(digest)
        shard = self._shards[key % _SHARDS]
        if shard.is_full:
            shard = self._shards[key % _SHARDS] = shard.grown(self._salt)
        shard.add(key, self._salt, KnownBlob(size, NOBODY, 0))

    def get(self, digest: Digest) -> KnownBlob | None:
        """Return the state of a blob, or None if the table does not contain the blob."""
        key = _key(digest)
        shard = self._shards[key % _SHARDS]
        slot = shard.find(key, self._salt)
        return KnownBlob(shard.sizes[slot], shard.holders[slot], shard.flags[slot]) if shard.keys[slot] else None

    def hold(self, digest: Digest, holder: int, flags: int) -> None:
        """Record that a repository links a blob of the table.

        Args:
            digest: the blob.
            holder: number of the repository, 0 or greater.
            flags: bits that are added to the flags of the blob.
        """
        key = _key(digest)
        shard = self._shards[key % _SHARDS]
        slot = shard.find(key, self._salt)
        known = shard.holders[slot]
        shard.holders[slot] = holder if known in {NOBODY, holder} else SEVERAL
        shard.flags[slot] |= flags

    def parts(self) -> Iterator[Iterator[KnownBlob]]:
        """Yield the blobs in many parts of similar size."""
        for shard in self._shards:
            yield (known for key, known in zip(shard.keys, shard.blobs(), strict=True) if key)


def _key(digest: Digest) -> int:
    # 0 marks a free slot.
    return int(digest.encoded[:16], 16) or 1
