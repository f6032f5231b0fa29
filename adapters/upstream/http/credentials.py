"""Sources of credentials for an upstream: the configuration, a file, a program, Docker's configuration."""

import asyncio
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

from typing_extensions import override

from core.errors import UpstreamUnavailableError
from core.model.secret import Secret

T = TypeVar("T")

IDENTITY_TOKEN_USER: Final = "<token>"  # noqa: S105 - marks a token, and is none
FILE_BYTES_MAX: Final = 1024 * 1024
_UNSETTLED_SECONDS: Final = 2.0
"""A file modified less than this before it was read may change again without a change of its modification time."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user name with its password, or an identity token in the place of a password."""

    username: str
    password: Secret

    @property
    def is_identity_token(self) -> bool:
        """Whether the password is a refresh token (OAuth 2), as Docker's helpers mark it."""
        return self.username == IDENTITY_TOKEN_USER


class CredentialSource(ABC):
    """Provides the credentials for a host of the upstream. Belongs to one event loop.

    Methods raise `UpstreamUnavailableError` if the source fails; the message contains no credentials.
    """

    @abstractmethod
    async def current(self, host: str) -> Credentials | None:
        """Return the credentials for `host` (`registry.example.com:5000`), or None for anonymous access."""

    async def refreshed(self, host: str) -> Credentials | None:
        """Return the credentials after the upstream rejected the current ones; fetched again if the source can."""
        return await self.current(host)


class FixedCredentials(CredentialSource):
    """The same credentials at all times, or none."""

    def __init__(self, credentials: Credentials | None) -> None:
        self._credentials = credentials

    @override
    async def current(self, host: str) -> Credentials | None:
        return self._credentials


class ChangingFile(Generic[T]):
    """The parsed content of a small file, which is read again when the file changes.

    Args:
        path: the file.
        what: a description for errors: `the password file`.
        parse: raises `ValueError` with the problem, without the content.
    """

    def __init__(self, path: str, what: str, parse: Callable[[bytes], T]) -> None:
        self._path = Path(path)
        self._what = what
        self._parse = parse
        self._held: tuple[tuple[int, ...], T] | None = None

    async def current(self) -> T:
        """Return the current content.

        Raises:
            UpstreamUnavailableError: the file cannot be read or parsed.
        """
        try:
            signature = _signature(self._path.stat())
            if self._held is not None and self._held[0] == signature:
                return self._held[1]
            value = self._parse(await asyncio.to_thread(self._read))
        except OSError as error:
            raise self._failed(error.strerror or "cannot be read") from None
        except ValueError as error:
            raise self._failed(str(error)) from None
        is_settled = signature[0] / 1e9 < time.time() - _UNSETTLED_SECONDS
        self._held = (signature, value) if is_settled else None
        return value

    def _read(self) -> bytes:
        with self._path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
        if len(content) > FILE_BYTES_MAX:
            raise ValueError(f"is larger than {FILE_BYTES_MAX} bytes")
        return content

    def _failed(self, problem: str) -> UpstreamUnavailableError:
        return UpstreamUnavailableError(f"{self._what} {self._path}: {problem}")


def _signature(state: os.stat_result) -> tuple[int, ...]:
    return (state.st_mtime_ns, state.st_size, state.st_ino, state.st_dev)


class PasswordFile(CredentialSource):
    """A fixed user, whose password is the content of a file without the line break at its end."""

    def __init__(self, username: str, path: str) -> None:
        self._username = username
        self._file = ChangingFile(path, "the password file", _password)

    @override
    async def current(self, host: str) -> Credentials | None:
        return Credentials(self._username, await self._file.current())


def _password(content: bytes) -> Secret:
    try:
        text = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text") from None
    if not text:
        raise ValueError("is empty")
    return Secret(text)
