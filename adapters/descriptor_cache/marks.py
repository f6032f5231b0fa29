"""How the processes of one server tell one another what is no longer true: by memory that they share."""

import mmap
import secrets
from typing import Final

from core.digest import Digest
from core.names import RepositoryName

_SLOTS: Final = 65_536
_SLOT_BYTES: Final = 8


class SharedMarks:
    """Half a megabyte of random numbers, one for many blobs; made before processes fork, and then seen by all of them.

    Forgetting a blob puts another number into its place, and whatever any process proved before then counts no more.
    Now and then that hits a blob that shares the place; it costs a look at the storage.
    """

    def __init__(self) -> None:
        # Anonymous and shared: it lives as long as one of the processes does.
        self._numbers = memoryview(mmap.mmap(-1, _SLOTS * _SLOT_BYTES)).cast("Q")

    def read(self, name: RepositoryName, digest: Digest) -> tuple[int, int]:
        """Return the marks of a blob, in this repository and in all."""
        return self._numbers[_slot((name, digest))], self._numbers[_slot(digest)]

    def change(self, name: RepositoryName, digest: Digest) -> None:
        """Make void what was proven of a blob in this repository."""
        self._numbers[_slot((name, digest))] = secrets.randbits(64)

    def change_everywhere(self, digest: Digest) -> None:
        """Make void what was proven of a blob in any repository."""
        self._numbers[_slot(digest)] = secrets.randbits(64)


def _slot(key: object) -> int:
    # Forked processes have one seed of `hash`.
    return hash(key) % _SLOTS
