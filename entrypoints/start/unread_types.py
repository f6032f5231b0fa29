"""The system's list of MIME types, left unread at the start.

The import of aiohttp reads it, though aiohttp's own list contains nothing of it: a seventieth of the work of a start,
where the system has one.
"""

import mimetypes
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def system_types_unread() -> Iterator[None]:
    """Let modules that are imported within this block find no list of the system; later calls read it as usual."""
    if mimetypes.inited:
        yield
        return
    files = mimetypes.knownfiles
    mimetypes.knownfiles = []
    try:
        yield
    finally:
        mimetypes.knownfiles = files
        mimetypes.inited = False
        # Private, but without it the module would keep the types that it found in no file.
        mimetypes._db = None  # type: ignore[attr-defined]  # noqa: SLF001
