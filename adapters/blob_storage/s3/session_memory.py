"""Hints about the upload sessions that this process ended, which save requests to the store."""

from typing import Final

_REMEMBERED_MAX: Final = 1_000


class SessionMemory:
    """Staged keys that were committed or discarded here, until they are removed; bounded, the oldest are dropped.

    The entries are only hints: a process without them finds bytes that it can commit again, or searches for open
    uploads without finding any.
    """

    def __init__(self) -> None:
        self._superseded: dict[str, None] = {}
        self._ended: dict[str, None] = {}
        self._long: dict[str, None] = {}

    def supersede(self, key: str) -> None:
        """Record that the content staged at `key` was committed from memory; the bytes in the store are obsolete."""
        _remember(self._superseded, key)

    def is_superseded(self, key: str) -> bool:
        """Whether the store may have obsolete bytes at `key`."""
        return key in self._superseded

    def forget(self, key: str) -> None:
        """Drop the hints for a key that was removed or is staged again."""
        self._superseded.pop(key, None)
        self._long.pop(key, None)

    def expect_long(self, key: str) -> None:
        """Record that the object staged at `key` is longer than a part."""
        _remember(self._long, key)

    def is_long(self, key: str) -> bool:
        """Whether the staged object is longer than a part, too long to be read into memory."""
        return key in self._long

    def end(self, key: str) -> None:
        """Record that no upload is open at `key`, nor in its directory: one session stages one key."""
        _remember(self._ended, _directory(key))

    def take_end(self, prefix: str) -> bool:
        """Return whether a session ended here whose key is directly below `prefix`; True only once."""
        return prefix in self._ended and self._ended.pop(prefix) is None


def _directory(key: str) -> str:
    return key.rpartition("/")[0]


def _remember(known: dict[str, None], key: str) -> None:
    known[key] = None
    if len(known) > _REMEMBERED_MAX:
        del known[next(iter(known))]
