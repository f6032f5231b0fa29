"""Compact hash table for millions of digests."""

from array import array
from hashlib import blake2b
from typing import Final

_SLOTS_AT_FIRST: Final = 1024
_FREE: Final = 0


class DigestTable:
    """Maps up to `entries_max` texts (mostly digests) to numbers, by 64-bit fingerprints; 25 to 51 bytes per entry.

    A lookup may find the entry of another text with the same fingerprint: in a table of a million entries, about once
    in 10^13 lookups. A lookup that finds nothing is correct unless the table is full.
    """

    def __init__(self, entries_max: int) -> None:
        self._entries_max = entries_max
        self._count = 0
        self._fingerprints = array("Q", bytes(8 * _SLOTS_AT_FIRST))
        self._numbers = array("Q", bytes(8 * _SLOTS_AT_FIRST))

    def __len__(self) -> int:
        return self._count

    @property
    def is_full(self) -> bool:
        """Whether the table accepts no more entries. A text that is not found may then have been rejected."""
        return self._count >= self._entries_max

    def put(self, text: str, number: int = 0) -> None:
        """Store a number for `text`, unless the table is full."""
        fingerprint = fingerprint_of(text)
        slot = self._slot(fingerprint)
        if self._fingerprints[slot] == _FREE:
            if self.is_full:
                return
            self._count += 1
            self._fingerprints[slot] = fingerprint
        self._numbers[slot] = number
        if self._count * 3 > len(self._fingerprints) * 2:
            self._grow()

    def get(self, text: str) -> int | None:
        """Return the number of `text`, or None if there is none."""
        fingerprint = fingerprint_of(text)
        slot = self._slot(fingerprint)
        return self._numbers[slot] if self._fingerprints[slot] == fingerprint else None

    def __contains__(self, text: str) -> bool:
        return self.get(text) is not None

    def _slot(self, fingerprint: int) -> int:
        mask = len(self._fingerprints) - 1
        slot = fingerprint & mask
        while self._fingerprints[slot] not in (_FREE, fingerprint):
            slot = (slot + 1) & mask
        return slot

    def _grow(self) -> None:
        old = zip(self._fingerprints, self._numbers, strict=True)
        size = 2 * len(self._fingerprints)
        self._fingerprints = array("Q", bytes(8 * size))
        self._numbers = array("Q", bytes(8 * size))
        for fingerprint, number in old:
            if fingerprint != _FREE:
                slot = self._slot(fingerprint)
                self._fingerprints[slot] = fingerprint
                self._numbers[slot] = number


def fingerprint_of(text: str) -> int:
    """Return 64 bits of a hash of `text`; never 0."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") or 1
