"""`auth: htpasswd`: users and bcrypt hashes in a file, which is read again when it changes."""

import asyncio
import hashlib
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import bcrypt
from typing_extensions import override

from adapters.auth.basic import format_challenge, parse_basic
from adapters.auth.credential_cache import CredentialCache
from adapters.auth.groups import GroupFile
from adapters.auth.watched_file import WatchedFile
from core.errors import TooManyRequestsError
from core.model.access import ANONYMOUS, Access, Principal
from core.ports.authenticator import (
    Account,
    Accounts,
    Asked,
    Authenticator,
    CredentialsInvalidError,
    CredentialSourceError,
    Fault,
)

_BCRYPT: Final = re.compile(rb"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")
PASSWORD_BYTES_MAX: Final = 72
"""The bytes of a password that bcrypt uses; the tools that write the file truncate here too."""
_THREADS: Final = 4
WAITING_MAX: Final = 256
"""Maximum number of verifications that run or wait for a thread; further requests are answered with 429."""
RETRY_AFTER_SECONDS: Final = 2
_COST_DEFAULT: Final = 10
_STAMP_LENGTH: Final = 16
"""Length of a stamp, too short to test guesses of a hash with its 128 bits of salt."""
_NO_USERS: Final = b"#\n"
"""Content assumed for a folder at the path: Debian's own configuration names one, and distribution starts with it."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Users:
    hashes: Mapping[str, bytes]
    unknown_user: bytes
    """A hash that no password matches, at the median cost of the users' hashes."""


class HtpasswdAuthenticator(Authenticator, Accounts):
    """Compares passwords with bcrypt hashes ($2a$, $2b$, $2y$), in a few threads.

    Recently verified credentials are compared by a keyed hash instead; that cache is cleared when the file changes.
    Checking an unknown user takes as long as checking an existing one.

    Args:
        realm: shown to users in the browser's login dialog.
        path: path of the htpasswd file.
        clock: returns seconds since an arbitrary start.
        groups: the groups of the users; None for no groups.
    """

    name = "htpasswd"

    def __init__(self, *, realm: str, path: str, clock: Callable[[], float], groups: GroupFile | None = None) -> None:
        self._realm = realm
        self._file = WatchedFile(path, "the htpasswd file", _parse, of_folder=_NO_USERS)
        self._groups = groups
        self._cache = CredentialCache(clock)
        self._seen: _Users | None = None
        self._running: dict[tuple[bytes, str], asyncio.Task[bool]] = {}
        self._threads: ThreadPoolExecutor | None = None

    @override
    async def start(self) -> None:
        try:
            await self._file.current()
        except CredentialSourceError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise CredentialSourceError(f"{error}; `registry users add NAME` creates it") from error
            raise
        if self._groups:
            await self._groups.load()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="bcrypt")

    @override
    async def stop(self) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    @override
    async def authenticate(self, authorization: str | None) -> Principal:
        if not authorization:
            return ANONYMOUS
        name, password = parse_basic(authorization)
        if not name and not password:
            # containers/image sends empty credentials when it is challenged and has none.
            return ANONYMOUS
        users = await self._users()
        hashed = users.hashes.get(name)
        # An unknown user takes the same steps in the same order, so that only the result differs.
        is_right = await self._is_right(hashed or users.unknown_user, password)
        if hashed is None or not is_right:
            raise CredentialsInvalidError("wrong user name or password")
        return await self._principal(name)

    @override
    def challenge(self, accesses: Sequence[Access], asked: Asked, fault: Fault | None) -> str:
        return format_challenge("Basic", [("realm", self._realm)])

    @override
    async def account(self, name: str, *, key: str = "") -> Account | None:
        hashed = (await self._users()).hashes.get(name)
        if hashed is None or key:
            return None
        return Account(principal=await self._principal(name), stamp=hashlib.sha256(hashed).hexdigest()[:_STAMP_LENGTH])

    @override
    async def reload(self) -> None:
        await self._file.reload()
        if self._groups:
            await self._groups.reload()

    async def _users(self) -> _Users:
        users = await self._file.current()
        if users is not self._seen:
            self._cache.clear()
            self._seen = users
        return users

    async def _principal(self, name: str) -> Principal:
        groups = await self._groups.of(name) if self._groups else frozenset[str]()
        return Principal(name=name, groups=groups, method=self.name, has_credentials=True)

    async def _is_right(self, hashed: bytes, password: str) -> bool:
        if self._cache.has(hashed, password):
            return True
        # A client opens several connections at once, all with the same credentials: one verification is enough.
        task = self._running.get((hashed, password))
        if task is None:
            if len(self._running) >= WAITING_MAX:
                raise TooManyRequestsError(RETRY_AFTER_SECONDS)
            task = asyncio.create_task(self._verify(hashed, password))
            self._running[hashed, password] = task
            task.add_done_callback(lambda _: self._running.pop((hashed, password), None))
        return await asyncio.shield(task)

    async def _verify(self, hashed: bytes, password: str) -> bool:
        if self._threads is None:
            raise RuntimeError("the authenticator is not open")
        is_right = await asyncio.get_running_loop().run_in_executor(self._threads, _matches, password, hashed)
        if is_right:
            self._cache.add(hashed, password)
        return is_right


def is_bcrypt(hashed: bytes) -> bool:
    """Whether a hash of the file is one that this registry verifies."""
    return _BCRYPT.fullmatch(hashed) is not None


def _matches(password: str, hashed: bytes) -> bool:
    return bcrypt.checkpw(password.encode()[:PASSWORD_BYTES_MAX], hashed)


def _parse(content: bytes) -> _Users:
    """Parse an htpasswd file; the last line of a user counts, as in distribution.

    Raises:
        CredentialSourceError: a line has no colon, or the file is empty, as it is while another program rewrites it. A
            file with only a comment is valid and allows no user to log in.
    """
    if not content.strip():
        raise CredentialSourceError("is empty; add a user with `registry users add`")
    hashes: dict[str, bytes] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith(b"#"):
            continue
        name, colon, hashed = text.partition(b":")
        if not colon or not name:
            raise CredentialSourceError(f"line {number} is not of the form `user:hash`")
        try:
            user = name.decode()
        except UnicodeDecodeError:
            raise CredentialSourceError(f"the user name on line {number} is not UTF-8") from None
        if is_bcrypt(hashed):
            hashes[user] = hashed
        else:
            # Distribution never matches it either; and an earlier line of this user must not take effect again.
            hashes.pop(user, None)
            _logger.warning(
                "htpasswd: line %d has no bcrypt hash, so its user cannot log in; use `registry users passwd`", number
            )
    if not hashes:
        _logger.warning("htpasswd: no user can log in, because the file has no bcrypt hash; use `registry users add`")
    return _Users(hashes, _unmatchable_hash(hashes))


def _unmatchable_hash(hashes: Mapping[str, bytes]) -> bytes:
    costs = sorted(int(hashed[4:6]) for hashed in hashes.values())
    cost = costs[len(costs) // 2] if costs else _COST_DEFAULT
    # The salt is valid; no password hashes to these 53 dots.
    return b"$2b$%02d$" % cost + b"." * 53
