"""A file that is read again when it changes: edited in place, replaced, or switched by Kubernetes' symbolic links."""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, NamedTuple, TypeVar

from core.ports.authenticator import CredentialSourceError

T = TypeVar("T")

_BYTES_MAX: Final = 16 * 1024 * 1024
_UNSETTLED_SECONDS: Final = 2.0
"""A file modified less than this before it was read may change again without a change of its modification time."""

_logger = logging.getLogger(__name__)


class _Signature(NamedTuple):
    """Identity of one version of a file, obtained without reading it."""

    device: int
    inode: int
    modified_ns: int
    size: int


_MISSING: Final = _Signature(0, 0, 0, 0)


class WatchedFile(Generic[T]):
    """The parsed content of a small file; belongs to one event loop.

    Args:
        path: may be a symbolic link, whose target counts.
        kind: a description of the file for messages: `the htpasswd file`.
        parse: raises `CredentialSourceError` with the problem, without the path.
        of_folder: the content assumed for a folder at the path when the file is first read; None refuses a folder.
    """

    def __init__(self, path: str, kind: str, parse: Callable[[bytes], T], *, of_folder: bytes | None = None) -> None:
        self._path = path
        self._kind = kind
        self._parse = parse
        self._of_folder = of_folder
        self._value: T | None = None
        self._signature: _Signature | None = None
        """The signature at the last read; None if the file must be read again in any case."""
        self._content: bytes | None = None
        self._refused: bytes | str | None = None
        self._lock = asyncio.Lock()

    async def current(self) -> T:
        """Return the current value; if the file has become unusable, return the last good one.

        Costs one `stat`, which the kernel answers from memory, and a thread only when the file has changed.
        """
        value = self._value
        if value is not None and self._state() == self._signature:
            return value
        try:
            return await self._load()
        except CredentialSourceError:
            # `_refuse` has logged the problem, once for each broken version.
            if value is None:
                raise
            return value

    async def reload(self) -> None:
        """Read the file now.

        Raises:
            CredentialSourceError: the file cannot be used; the last good value is kept.
        """
        await self._load()

    async def _load(self) -> T:
        async with self._lock:
            signature = self._state()
            is_settled = signature.modified_ns / 1e9 < time.time() - _UNSETTLED_SECONDS
            self._signature = signature if is_settled else None
            try:
                content = await asyncio.to_thread(self._read)
            except IsADirectoryError as error:
                if self._of_folder is None or self._value is not None:
                    raise self._refuse("is a folder", of="folder") from error
                _logger.warning(
                    "%s: %s is a folder and counts as empty; set the path of a file", self._kind, self._path
                )
                content = self._of_folder
            except OSError as error:
                raise self._refuse(error.strerror or "cannot be read", of=error.strerror) from error
            value = self._value
            if value is None or content != self._content:
                value = await self._parsed(content)
            self._refused = None
            return value

    async def _parsed(self, content: bytes) -> T:
        try:
            value = await asyncio.to_thread(self._parse, content)
        except CredentialSourceError as error:
            raise self._refuse(str(error), of=content) from error
        if self._value is not None:
            _logger.info("%s: reloaded %s", self._kind, self._path)
        self._value, self._content = value, content
        return value

    def _refuse(self, problem: str, *, of: bytes | str | None) -> CredentialSourceError:
        message = f"{self._kind} {self._path}: {problem}"
        if self._value is not None and of != self._refused:
            _logger.error("reload failed, keeping the content read before: %s", message)
        self._refused = of
        return CredentialSourceError(message)

    def _state(self) -> _Signature:
        try:
            state = os.stat(self._path)  # noqa: PTH116 - on each request, where a Path costs more than the call
        except OSError:
            return _MISSING
        return _Signature(state.st_dev, state.st_ino, state.st_mtime_ns, state.st_size)

    def _read(self) -> bytes:
        with Path(self._path).open("rb") as file:
            content = file.read(_BYTES_MAX + 1)
        if len(content) > _BYTES_MAX:
            raise OSError(0, f"is larger than {_BYTES_MAX} bytes")
        return content
