"""What this process knows of upload sessions that it ended, which saves asking the store."""

from typing import Final

_REMEMBERED_MAX: Final = 1_000


class SessionMemory:
    """Staged keys that were committed or discarded here, until they are removed; the oldest are forgotten.

    Only hints: a process that knows nothing finds bytes that it can commit again, or asks for open uploads in vain.
    """

    def __init__(self) -> None:
        self._superseded: dict[str, None] = {}
        self._ended: dict[str, None] = {}
        self._long: dict[str, None] = {}

    def supersede(self, key: str) -> None:
        """What is staged at `key` was committed from memory and counts for nothing any more."""
        _remember(self._superseded, key)

    def is_superseded(self, key: str) -> bool:
        """Tell whether there may be bytes at `key` that count for nothing."""
        return key in self._superseded

    def forget(self, key: str) -> None:
        """The key was removed, or staged anew."""
        self._superseded.pop(key, None)
        self._long.pop(key, None)

    def expect_long(self, key: str) -> None:
        """The object staged at `key` is longer than a part."""
        _remember(self._long, key)

    def is_long(self, key: str) -> bool:
        """Tell whether asking for the object's bytes would mean to hang up on them."""
        return key in self._long

    def end(self, key: str) -> None:
        """Nothing is open at `key`, nor where it stands: one session stages one key."""
        _remember(self._ended, _directory(key))

    def take_end(self, prefix: str) -> bool:
        """Tell once whether a session ended here whose key stood directly below `prefix`."""
        return prefix in self._ended and self._ended.pop(prefix) is None


def _directory(key: str) -> str:
    return key.rpartition("/")[0]


def _remember(known: dict[str, None], key: str) -> None:
    known[key] = None
    if len(known) > _REMEMBERED_MAX:
        del known[next(iter(known))]
