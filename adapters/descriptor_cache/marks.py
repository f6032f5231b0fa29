"""Cache invalidation between the processes of one server, through shared memory."""

import mmap
import secrets
from typing import Final

from core.model.digest import Digest
from core.model.names import RepositoryName

_SLOTS: Final = 65_536
_SLOT_BYTES: Final = 8


class SharedMarks:
    """A table of random numbers (0.5 MB), each shared by many blobs; created before the processes fork.

    Forgetting a blob replaces its number, which invalidates the entries that any process has made before. This
    sometimes invalidates another blob with the same slot, which costs a lookup in storage.
    """

    def __init__(self) -> None:
        # Anonymous shared memory: it exists as long as one of the processes.
        self._numbers = memoryview(mmap.mmap(-1, _SLOTS * _SLOT_BYTES)).cast("Q")

    def read(self, name: RepositoryName, digest: Digest) -> tuple[int, int]:
        """Return the marks of a blob: for this repository, and for all repositories."""
        return self._numbers[_slot((name, digest))], self._numbers[_slot(digest)]

    def change(self, name: RepositoryName, digest: Digest) -> None:
        """Invalidate all entries of a blob in this repository."""
        self._numbers[_slot((name, digest))] = secrets.randbits(64)

    def change_everywhere(self, digest: Digest) -> None:
        """Invalidate all entries of a blob in all repositories."""
        self._numbers[_slot(digest)] = secrets.randbits(64)


def _slot(key: object) -> int:
    # Forked processes share the seed of `hash`.
    return hash(key) % _SLOTS
