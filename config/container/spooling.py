"""The folder of the spool: its place, and its owner."""

import hashlib
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from adapters.blob_storage.filesystem.tree import PRIVATE, SPOOL
from config.settings import ProxySettings, Settings, StorageKind
from core.errors import StorageUnavailableError

_IDENTITY_LENGTH: Final = 16
_TEMPORARY_NAME: Final = "registry-spool"
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def spool_folder(settings: Settings, proxy: ProxySettings) -> Path:
    """Return the folder for blobs in flight, which all processes of a server share.

    Beside the blobs of a store in a folder, which has the space for them; otherwise a folder for this store and user
    below the system's folder of temporary files.
    """
    storage = settings.storage
    if proxy.spool:
        return Path(proxy.spool)
    if storage.kind is StorageKind.FILESYSTEM:
        return Path(storage.filesystem.root_directory, PRIVATE, SPOOL)
    identity = hashlib.sha256(_identity(settings).encode()).hexdigest()[:_IDENTITY_LENGTH]
    return Path(tempfile.gettempdir(), f"{_TEMPORARY_NAME}-{os.getuid()}-{identity}")


def prepare_spool(folder: Path) -> None:
    """Create the folder of the spool if it is missing. Blocks.

    Raises:
        StorageUnavailableError: the folder cannot be created, or lies among folders of other users and is not private.
    """
    try:
        with suppress(FileExistsError):
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=stat.S_IRWXU)
            _give_to_owner(folder)
        state = folder.lstat()
    except OSError as error:
        raise StorageUnavailableError(f"the spool {folder} cannot be created: {error.strerror}") from None
    is_own = stat.S_ISDIR(state.st_mode) and state.st_uid == os.geteuid() and not state.st_mode & _OTHERS
    if folder.name.startswith(_TEMPORARY_NAME) and not is_own:
        raise StorageUnavailableError(
            f"{folder} must be a folder of the registry's user with mode 0700: remove it, or set proxy.spool"
        )


def _give_to_owner(folder: Path) -> None:
    """Give a new folder to the owner of the store beside it: a command that root runs must not lock servers out."""
    if folder.name == SPOOL and os.geteuid() == 0:
        owner = folder.parent.parent.stat()
        os.chown(folder, owner.st_uid, owner.st_gid)


def _identity(settings: Settings) -> str:
    """Return a text that differs between two servers of one user on one machine."""
    storage = settings.storage
    if (bucket := storage.bucket) is not None:
        place = f"{bucket.region_endpoint} {bucket.bucket} {bucket.root_directory}"
    else:
        place = storage.scs.bucket if storage.kind is StorageKind.SCS else ""
    return f"{storage.kind} {place} {settings.http.addr}"
