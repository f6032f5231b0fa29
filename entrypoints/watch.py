"""Files that change while the process runs, told by their content.

By content and not by time: Kubernetes swaps a symbolic link above the file, editors rename over it, NFS keeps old
attributes for a while, and a new file may be as old and as long as the one it replaces. The files are small.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

_BYTES_MAX = 4 * 1024 * 1024
"""Files beyond this are looked at in their first part only."""


class FileWatch:
    """Remembers the content of files; one per process. Blocks for as long as reading them takes."""

    def __init__(self) -> None:
        self._seen: dict[str, bytes] = {}

    def changed(self, paths: Iterable[str]) -> set[str]:
        """Return which of `paths` hold something else than at the last call.

        A path that is new here is only remembered. One that cannot be read is taken as unchanged: it is no new
        version, and is compared with what it held before when it comes back.
        """
        changed = set()
        for path in paths:
            digest = _digest(path)
            if digest is None:
                continue
            if self._seen.get(path, digest) != digest:
                changed.add(path)
            self._seen[path] = digest
        return changed


def _digest(path: str) -> bytes | None:
    try:
        with Path(path).open("rb") as file:
            return hashlib.sha256(file.read(_BYTES_MAX)).digest()
    except (OSError, ValueError):
        return None
