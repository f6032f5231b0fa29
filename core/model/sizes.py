"""Types of sizes that operators write with a unit: `500GB`, `10GiB`, or `10%` of a disk."""

from math import ceil
from typing import NamedTuple, NewType

Bytes = NewType("Bytes", int)
"""A number of bytes, as the type of a setting that accepts units."""


class Space(NamedTuple):
    """An amount of space on a disk: a number of bytes, or a share of the disk."""

    bytes: int = 0
    percent: float = 0.0

    def of(self, disk_bytes: int) -> int:
        """Return the number of bytes on a disk of this size."""
        return max(self.bytes, ceil(disk_bytes * self.percent / 100))
