"""Files and folders that are built under a private name and appear by a rename. All functions block."""

import errno
import os
import uuid
from collections.abc import Callable
from contextlib import suppress

from adapters.blob_storage.filesystem.removal import TAKEN


def sync_folder(path: str) -> None:
    """Make the entries of a folder durable; do nothing if the folder no longer exists."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync folders; on them no folder entry can be lost.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def _unlink(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def parent_of(path: str) -> str:
    """Return the folder of `path`."""
    return path.rpartition("/")[0]


def first_missing(path: str) -> str:
    """Return the highest folder above `path` that does not exist, or `path` itself if its folder does."""
    while True:
        parent = parent_of(path)
        if not parent or os.path.lexists(parent):
            return path
        path = parent


def build(private: str, relative: str, content: bytes, *, durable: bool) -> None:
    """Create the file `private + relative`, synced if `durable`, and the folders on the way to it."""
    for folder in folders_of(private, relative):
        os.mkdir(folder)
    _write_new(private + relative, content, durable=durable)


def folders_of(private: str, relative: str) -> list[str]:
    """Return the folders on the way to the file `private + relative`, from `private` on."""
    return [private + relative[:end] for end, character in enumerate(relative) if character == "/"]


def _write_new(path: str, content: bytes, *, durable: bool) -> None:
    descriptor = create_file(path, content)
    try:
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create_file(path: str, content: bytes) -> int:
    """Create the file at `path`, not yet durable; return a descriptor."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def show(private: str, top: str, path: str, place: Callable[[str, str], None]) -> str:
    """Rename what was built for `top` into place; return the folder or file that appeared.

    Another writer may have created `top` after it was found missing. Then only the next deeper part is renamed into
    that folder. `place` puts the file itself: it replaces an existing file, or fails if there is one.
    """
    origin = len(top)
    while True:
        try:
            # Renaming a folder onto a folder that is not empty fails.
            (place if top == path else os.rename)(private + top[origin:], top)
        except OSError as error:
            if error.errno not in TAKEN or top == path:
                raise
            deeper = path.find("/", len(top) + 1)
            top = path if deeper < 0 else path[:deeper]
        else:
            return top


def make_parents(path: str) -> str:
    """Create the folders above `path` in place; return the lowest."""
    folder = parent_of(path)
    os.makedirs(folder, exist_ok=True)
    return folder


def write_beside(path: str, content: bytes, place: Callable[[str, str], None]) -> None:
    """Write with a temporary file next to `path`, for a `.tmp` on another file system; folders appear early."""
    folder = make_parents(path)
    # The pattern of distribution 3's temporary files, which neither program treats as objects.
    temporary = f"{path}.{uuid.uuid4()}.tmp"
    try:
        _write_new(temporary, content, durable=True)
        place(temporary, path)
    finally:
        _unlink(temporary)
    sync_folder(folder)
