"""Checks of the root folder; error messages name the setting, the folder, the user and the remedy."""

import errno
import os
from typing import Final

from adapters.blob_storage.filesystem.tree import PRIVATE
from core.errors import StorageUnavailableError

SETTING: Final = "storage.filesystem.rootdirectory"
_REFUSED: Final = {errno.EACCES, errno.EPERM}


def open_root(root: str, *, makes: bool) -> None:
    """Require that the root is a folder; with `makes`, create it if it is missing, and require that it is writable.

    Raises:
        StorageUnavailableError: the root does not meet these requirements.
    """
    if makes:
        _make(root)
    require_root(root, writable=makes)


def require_root(root: str, *, writable: bool) -> None:
    """Require that the root is a folder, and with `writable` that files can be created in it.

    Raises:
        StorageUnavailableError: the root does not meet these requirements.
    """
    if not os.path.isdir(root):
        raise _unusable(root, *_obstacle(root))
    for path in (root, f"{root}/{PRIVATE}"):
        if writable and os.path.isdir(path):
            _require_writable(root, path)


def user() -> str:
    """Return the effective user of this process, for messages."""
    return f"user {os.geteuid()}"


def _make(root: str) -> None:
    try:
        os.makedirs(root, exist_ok=True)
    except FileExistsError:
        # A file, or a link without its target; `require_root` distinguishes the two.
        return
    except OSError as error:
        above = _nearest(root)
        if error.errno in _REFUSED:
            problem = f"cannot be created: {user()} may not write to {above}"
            raise _unusable(root, problem, _install_command(root)) from error
        problem = f"cannot be created in {above}: {os.strerror(error.errno or 0)}"
        raise _unusable(root, problem, "set another folder, or create this one") from error


def _obstacle(root: str) -> tuple[str, str]:
    """Return why the root is not a folder, and the remedy."""
    if os.path.islink(root) and not os.path.exists(root):
        return f"is a link to {os.path.realpath(root)}, which is missing", "create that folder, or mount it"
    if os.path.exists(root):
        return "is not a folder", "set the path of a folder"
    above = _nearest(root)
    if not os.access(above, os.X_OK, effective_ids=True):
        return f"cannot be reached: {user()} may not enter {above}", f"chmod +x {above}"
    return "is missing", "mount it, or correct the setting"


def _require_writable(root: str, path: str) -> None:
    if os.access(path, os.W_OK | os.X_OK, effective_ids=True):
        return
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        raise _unusable(root, f"is on a read-only file system ({path})", "mount it writable")
    # An existing folder may have contents of the same owner, as a volume that another user mounted before.
    inside = path == root or path.startswith(f"{root}/")
    remedy = f"chown -R {os.geteuid()} {root}" if inside else _install_command(path)
    raise _unusable(root, f"is not writable: {user()} may not write to {path}", remedy)


def _install_command(path: str) -> str:
    return f"install -d -o {os.geteuid()} {path}"


def _nearest(path: str) -> str:
    """Return the nearest existing folder above `path`."""
    above = os.path.dirname(path)
    while not os.path.isdir(above):
        above = os.path.dirname(above)
    return above


def _unusable(root: str, problem: str, remedy: str) -> StorageUnavailableError:
    real = os.path.realpath(root)
    also = "" if real == root else f" (resolved: {real})"
    return StorageUnavailableError(f"{SETTING}: {root}{also} {problem}; remedy: {remedy}")
