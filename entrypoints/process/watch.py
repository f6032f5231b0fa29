"""Detection of changed files by their content.

Modification times are not reliable: Kubernetes swaps a symbolic link above the file, editors rename over the file, NFS
caches old attributes, and a new file may have the same age and size as the old one. The files are small.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

_BYTES_MAX = 4 * 1024 * 1024
"""Number of bytes compared; changes beyond them are not detected."""


class FileWatch:
    """Content of files as last read; one per process. Calls block while the files are read."""

    def __init__(self) -> None:
        self.seen: dict[str, bytes] = {}
        """Digest of each file as last read."""

    def changed(self, paths: Iterable[str]) -> set[str]:
        """Return the paths whose content has changed since the last call.

        The first call for a path only records its content. An unreadable file counts as unchanged; when the file
        becomes readable again, its content is compared with the last known content.
        """
        changed = set()
        for path in paths:
            digest = _digest(path)
            if digest is None:
                continue
            if self.seen.get(path, digest) != digest:
                changed.add(path)
            self.seen[path] = digest
        return changed


def _digest(path: str) -> bytes | None:
    try:
        with Path(path).open("rb") as file:
            return hashlib.sha256(file.read(_BYTES_MAX)).digest()
    except (OSError, ValueError):
        return None
