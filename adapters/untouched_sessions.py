"""Upload sessions without content, in memory that the processes of one server share."""

import mmap
from typing import Final

from typing_extensions import override

from core.ports.untouched_sessions import UntouchedSessions

_SLOTS: Final = 65_536
_SLOT_BYTES: Final = 8
_HASH_MASK: Final = (1 << 64) - 1


class SharedUntouchedSessions(UntouchedSessions):
    """A table of hashes (0.5 MB), created before the processes fork. A new session replaces one in the same slot.

    One process for all would do without shared memory, but a client's `POST` and `PATCH` often reach two processes.
    """

    def __init__(self) -> None:
        # Anonymous shared memory: it exists as long as one of the processes.
        self._hashes = memoryview(mmap.mmap(-1, _SLOTS * _SLOT_BYTES)).cast("Q")

    @override
    def add(self, upload_id: str) -> None:
        number = _hash(upload_id)
        self._hashes[number % _SLOTS] = number

    @override
    def take(self, upload_id: str) -> bool:
        number = _hash(upload_id)
        if self._hashes[number % _SLOTS] != number:
            return False
        self._hashes[number % _SLOTS] = 0
        return True


def _hash(upload_id: str) -> int:
    """Return a number that is not 0, an empty slot. Forked processes share the seed of `hash`."""
    return (hash(upload_id) & _HASH_MASK) or 1
