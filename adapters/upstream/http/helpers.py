"""Credentials from other programs: Docker's credential helpers and `config.json`."""

import asyncio
import base64
import binascii
import contextlib
import os
import shlex
import signal
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from typing_extensions import override
from yarl import URL

from adapters.upstream.http.credentials import (
    FILE_BYTES_MAX,
    IDENTITY_TOKEN_USER,
    ChangingFile,
    Credentials,
    CredentialSource,
)
from core.errors import UpstreamUnavailableError
from core.json_text import load_json
from core.model.secret import Secret

_HELPER_SECONDS: Final = 30.0
_END_SECONDS: Final = 5.0
_PIECE_BYTES: Final = 65_536
_REFRESH_SECONDS: Final = 10.0
"""Credentials younger than this are not fetched again after a refusal: another request has just fetched them."""
_NOT_FOUND: Final = b"credentials not found"
_HUB_HOSTS: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_HUB_KEYS: Final = ("https://index.docker.io/v1/", "index.docker.io", "docker.io")
_HOSTS_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class _Held:
    credentials: Credentials | None
    obtained_at: float


class CredentialHelper(CredentialSource):
    """Runs `<command> get` with the host on standard input, as Docker and distribution do.

    Args:
        command: the program, with arguments if need be.
        lifetime_seconds: how long credentials are used; None until the upstream rejects them.
        now: a monotonic clock.
        timeout_seconds: how long a run may take.

    Raises:
        ValueError: the command is empty, or has a quote without an end.
    """

    def __init__(
        self,
        command: str,
        *,
        lifetime_seconds: float | None = None,
        now: Callable[[], float] = time.monotonic,
        timeout_seconds: float = _HELPER_SECONDS,
    ) -> None:
        self._command = _words(command)
        self._lifetime_seconds = lifetime_seconds
        self._now = now
        self._timeout_seconds = timeout_seconds
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._lock = asyncio.Lock()

    @override
    async def current(self, host: str) -> Credentials | None:
        return await self._within(host, self._lifetime_seconds)

    @override
    async def refreshed(self, host: str) -> Credentials | None:
        return await self._within(host, _REFRESH_SECONDS)

    async def _within(self, host: str, seconds: float | None) -> Credentials | None:
        async with self._lock:
            held = self._held.get(host)
            if held is None or (seconds is not None and self._now() - held.obtained_at >= seconds):
                held = self._held[host] = _Held(await self._run(host), self._now())
                while len(self._held) > _HOSTS_MAX:
                    self._held.popitem(last=False)
            return held.credentials

    async def _run(self, host: str) -> Credentials | None:
        # Neither the output nor the error output is ever shown: both may contain credentials.
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                "get",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                # A group of its own: programs that the helper has started end with it.
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise self._failed(f"cannot be run: {getattr(error, 'strerror', None) or error}") from None
        try:
            async with asyncio.timeout(self._timeout_seconds):
                output = await _exchange(process, host)
                if len(output) > FILE_BYTES_MAX:
                    raise self._failed(f"printed more than {FILE_BYTES_MAX} bytes")
                status = await process.wait()
        except TimeoutError:
            raise self._failed(f"did not end within {self._timeout_seconds:g} s") from None
        finally:
            await _end(process)
        if status and _NOT_FOUND in output:
            return None
        if status:
            raise self._failed(f"ended with status {status}")
        return self._parse(output)

    def _parse(self, output: bytes) -> Credentials:
        try:
            document = load_json(output)
            username, secret = document["Username"], document["Secret"]
        except (ValueError, KeyError, TypeError):
            raise self._failed("gave no credentials") from None
        if not isinstance(username, str) or not isinstance(secret, str):
            raise self._failed("gave no credentials")
        return Credentials(username, Secret(secret))

    def _failed(self, problem: str) -> UpstreamUnavailableError:
        return UpstreamUnavailableError(f"the credential helper {self._command[0]}: {problem}")


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill a helper that still runs, and wait for its end."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_END_SECONDS):
            # asyncio reports the end of a process only after the end of its output.
            while process.stdout is not None and await process.stdout.read(_PIECE_BYTES):
                pass
            await process.wait()


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    if not words:
        raise ValueError("`exec.command`: is empty, or has a quote without an end")
    return words


async def _exchange(process: asyncio.subprocess.Process, host: str) -> bytes:
    if process.stdin is None or process.stdout is None:  # pragma: no cover - both are pipes
        raise AssertionError
    with contextlib.suppress(ConnectionError):
        process.stdin.write(f"{host}\n".encode())
        await process.stdin.drain()
    process.stdin.close()
    output = bytearray()
    while len(output) <= FILE_BYTES_MAX and (piece := await process.stdout.read(_PIECE_BYTES)):
        output += piece
    return bytes(output)


class DockerConfig(CredentialSource):
    """The credentials in Docker's `config.json`: `credHelpers` of the host, then `auths`, then `credsStore`."""

    def __init__(self, path: str, *, now: Callable[[], float] = time.monotonic) -> None:
        self._file = ChangingFile(path, "Docker's configuration", _parse_config)
        self._now = now
        self._helpers: dict[str, CredentialHelper] = {}

    @override
    async def current(self, host: str) -> Credentials | None:
        return await self._find(host, is_refused=False)

    @override
    async def refreshed(self, host: str) -> Credentials | None:
        return await self._find(host, is_refused=True)

    async def _find(self, host: str, *, is_refused: bool) -> Credentials | None:
        config = await self._file.current()
        if name := config.helper(host):
            return await self._ask(name, host, is_refused=is_refused)
        if (found := config.auth(host)) is not None:
            return found
        return await self._ask(config.store, host, is_refused=is_refused) if config.store else None

    async def _ask(self, name: str, host: str, *, is_refused: bool) -> Credentials | None:
        helper = self._helpers.get(name)
        if helper is None:
            helper = self._helpers[name] = CredentialHelper(shlex.quote(f"docker-credential-{name}"), now=self._now)
        server = _HUB_KEYS[0] if host in _HUB_HOSTS else host
        return await (helper.refreshed(server) if is_refused else helper.current(server))


@dataclass(frozen=True, slots=True)
class _Config:
    auths: Mapping[str, Credentials]
    helpers: Mapping[str, str]
    store: str

    def auth(self, host: str) -> Credentials | None:
        return next((self.auths[key] for key in _keys(host) if key in self.auths), None)

    def helper(self, host: str) -> str | None:
        return next((self.helpers[key] for key in _keys(host) if key in self.helpers), None)


def _keys(host: str) -> list[str]:
    keys = [_host_of(key) for key in _HUB_KEYS] if host in _HUB_HOSTS else []
    return [host, *keys]


def _host_of(key: str) -> str:
    """Return the host of a key in `auths`, which is a host or a URL."""
    if "://" not in key:
        return key.partition("/")[0].lower()
    try:
        return URL(key).authority.lower()
    except ValueError:
        return ""


def _parse_config(content: bytes) -> _Config:
    try:
        document = load_json(content)
    except ValueError:
        raise ValueError("is not JSON") from None
    if not isinstance(document, dict):
        raise ValueError("is not a JSON object")  # noqa: TRY004 - a problem of the file's content
    auths = {
        _host_of(key): found
        for key, value in _members(document, "auths").items()
        if (found := _credentials(value)) is not None
    }
    helpers = {_host_of(key): str(value) for key, value in _members(document, "credHelpers").items()}
    return _Config(auths, helpers, str(document.get("credsStore") or ""))


def _members(document: dict[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{name} is not a JSON object")  # noqa: TRY004 - a problem of the file's content
    return value


def _credentials(value: object) -> Credentials | None:
    """Return the credentials of an entry; None if the entry is empty because a helper holds them."""
    if not isinstance(value, dict):
        return None
    if isinstance(token := value.get("identitytoken"), str) and token:
        return Credentials(IDENTITY_TOKEN_USER, Secret(token))
    if isinstance(auth := value.get("auth"), str) and auth:
        try:
            username, colon, password = base64.b64decode(auth, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise ValueError("has an `auth` that is not Base64 of `user:password`") from None
        return Credentials(username, Secret(password.rstrip("\0"))) if colon else None
    user, secret = value.get("username"), value.get("password")
    is_complete = isinstance(user, str) and isinstance(secret, str) and user
    return Credentials(str(user), Secret(str(secret))) if is_complete else None
