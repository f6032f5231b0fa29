"""A file that is read again when it changes, in place, by an atomic replace, or by Kubernetes' exchange of a link."""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

from core.ports.authenticator import CredentialSourceError

T = TypeVar("T")

_BYTES_MAX: Final = 16 * 1024 * 1024
_UNSETTLED_SECONDS: Final = 2.0
"""A file that was changed less than this before it was read may change once more without its time telling."""

_Signature = tuple[int, int, int, int]

_logger = logging.getLogger(__name__)


class WatchedFile(Generic[T]):
    """What a small file holds, parsed; belongs to one event loop.

    Args:
        path: may be a symbolic link, whose target counts.
        what: what the file is, for messages: `the htpasswd file`.
        parse: raises `CredentialSourceError` with what is wrong, without the path.
    """

    def __init__(self, path: str, what: str, parse: Callable[[bytes], T]) -> None:
        self._path = path
        self._what = what
        self._parse = parse
        self._value: T | None = None
        self._signature: _Signature | None = None
        self._content: bytes | None = None
        self._refused: bytes | str | None = None
        self._lock = asyncio.Lock()

    async def current(self) -> T:
        """Return what the file holds now; what it held before where it has become useless.

        Costs a look at the file's state, which is in the kernel's memory; a thread only when it has changed.
        """
        if self._value is None or self._state() != self._signature:
            try:
                await self.reload()
            except CredentialSourceError:
                # Told in the log by `reload`, once for each broken version.
                if self._value is None:
                    raise
        if self._value is None:
            raise CredentialSourceError(f"{self._what} {self._path} was not read")
        return self._value

    async def reload(self) -> None:
        """Read the file now.

        Raises:
            CredentialSourceError: it cannot be used; what was read before stays.
        """
        async with self._lock:
            signature, began = self._state(), time.time()
            try:
                content = await asyncio.to_thread(self._read)
            except OSError as error:
                raise self._refuse(error.strerror or "cannot be read", of=error.strerror) from error
            if content != self._content:
                try:
                    value = await asyncio.to_thread(self._parse, content)
                except CredentialSourceError as error:
                    self._signature = signature
                    raise self._refuse(str(error), of=content) from error
                if self._content is not None:
                    _logger.info("%s %s was read again", self._what, self._path)
                self._value, self._content = value, content
            self._refused = None
            is_settled = signature is not None and signature[2] / 1e9 < began - _UNSETTLED_SECONDS
            self._signature = signature if is_settled else None

    def _refuse(self, problem: str, *, of: bytes | str | None) -> CredentialSourceError:
        message = f"{self._what} {self._path}: {problem}"
        if self._value is not None and of != self._refused:
            _logger.error("%s; what was read before stays", message)
        self._refused = of
        return CredentialSourceError(message)

    def _state(self) -> _Signature | None:
        try:
            state = os.stat(self._path)  # noqa: PTH116 - on each request, where a Path costs more than the call
        except OSError:
            return None
        return state.st_dev, state.st_ino, state.st_mtime_ns, state.st_size

    def _read(self) -> bytes:
        with Path(self._path).open("rb") as file:
            content = file.read(_BYTES_MAX + 1)
        if len(content) > _BYTES_MAX:
            raise OSError(0, f"is larger than {_BYTES_MAX} bytes")
        return content
