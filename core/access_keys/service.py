"""Creating, verifying, listing and revoking API keys, on the store that all replicas share."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from core.access_keys.key import AccessKey, Entropy, Token, hash_secret, is_key_id, require_label
from core.concurrency import REQUESTS_AT_ONCE, closing, map_bounded, retrieve_error, slices
from core.errors import (
    InvalidInputError,
    ObjectNotFoundError,
    ObjectTooLargeError,
    StorageCorruptError,
    TooManyRequestsError,
    UnknownError,
)
from core.model.access import Rule
from core.ports.blob_storage import BlobStorage
from core.store.access_key_objects import KEYS, USES, access_key, last_use

VIEW_SECONDS_MAX: Final = 4.0
"""Maximum age of a process's last read of a key when the process accepts it: a revoked key is refused after it."""
USE_SECONDS: Final = 600.0
"""A process records the use of a key at most once in this time."""
READS_MAX: Final = 64
"""Maximum number of keys that a process reads at the same time: a stranger can make up ids."""
RETRY_AFTER_SECONDS: Final = 2
_REMEMBERED_MAX: Final = 10_000
_KEY_BYTES_MAX: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedKey:
    """A key in a list."""

    key: AccessKey
    used_at: datetime | None
    """The last recorded use, by the store's clock; None if there was none."""


@dataclass(slots=True)
class _View:
    key: AccessKey | None
    read_at: float
    recorded_at: float = float("-inf")


class AccessKeys:
    """The API keys of a store; one per process, safe for concurrent tasks.

    Args:
        storage: the store.
        entropy: returns random bytes, suitable for secrets.
        clock: monotonic seconds.
        now: the current time, UTC-aware.
    """

    def __init__(
        self, storage: BlobStorage, *, entropy: Entropy, clock: Callable[[], float], now: Callable[[], datetime]
    ) -> None:
        self._storage = storage
        self._entropy = entropy
        self._clock = clock
        self._now = now
        self._views: OrderedDict[str, _View] = OrderedDict()
        self._used: set[str] = set()
        self._reading: dict[str, asyncio.Task[_View]] = {}

    async def create(
        self, *, owner: str, label: str, limit: Rule, expires_at: datetime | None = None
    ) -> tuple[AccessKey, str]:
        """Create a key, and return it with its token, which is kept nowhere. One request.

        Raises:
            InvalidInputError: the label is not allowed, or the key would be expired.
        """
        now = self._now()
        if expires_at is not None and expires_at <= now:
            raise InvalidInputError("the end of a key must lie in the future")
        token = Token.new(self._entropy)
        key = AccessKey(
            id=token.id,
            owner=owner,
            label=require_label(label),
            limit=limit,
            created_at=now.replace(microsecond=0),
            expires_at=expires_at and expires_at.replace(microsecond=0),
            secret_hash=hash_secret(token.secret),
        )
        await self._storage.write(access_key(key.id), key.encode())
        return key, token.text

    async def verify(self, text: str) -> AccessKey | None:
        """Return the key of a token; None if it is unknown, revoked, expired or wrong. At most one request.

        No request within `VIEW_SECONDS_MAX` of the last read of the same key, whatever the number of keys is. A text
        without a valid checksum costs none.

        Raises:
            TooManyRequestsError: as many keys as `READS_MAX` are being read.
        """
        token = Token.parse(text)
        if token is None:
            return None
        key = await self.find(token.id)
        if key is None or not key.matches(token.secret):
            return None
        self._used.add(key.id)
        return key

    async def find(self, key_id: str) -> AccessKey | None:
        """Return a key that is valid now, by its id. Costs as much as `verify`."""
        view = self._views.get(key_id)
        if view is None or self._clock() - view.read_at > VIEW_SECONDS_MAX:
            view = await self._look(key_id)
        return None if view.key is None or view.key.is_expired(self._now()) else view.key

    async def _look(self, key_id: str) -> _View:
        """Read a key, together with all callers that wait for it."""
        reading = self._reading.get(key_id)
        if reading is None:
            if len(self._reading) >= READS_MAX:
                raise TooManyRequestsError(RETRY_AFTER_SECONDS)
            reading = self._reading[key_id] = asyncio.create_task(self._renew(key_id))
            reading.add_done_callback(lambda _: self._reading.pop(key_id, None))
            reading.add_done_callback(retrieve_error)
        return await asyncio.shield(reading)

    async def _renew(self, key_id: str) -> _View:
        read_at = self._clock()
        key = await self._read(key_id)
        old = self._views.pop(key_id, None)
        view = _View(key=key, read_at=read_at, recorded_at=old.recorded_at if old else float("-inf"))
        self._views[key_id] = view
        if len(self._views) > _REMEMBERED_MAX:
            self._views.popitem(last=False)
        return view

    async def record_uses(self) -> None:
        """Record the keys used since the last call. One request for each, at most once in `USE_SECONDS` for a key."""
        used, self._used = self._used, set()
        for key_id in used:
            view = self._views.get(key_id)
            if view is not None and self._clock() - view.recorded_at >= USE_SECONDS:
                await self._storage.write(last_use(key_id), b"", durable=False)
                view.recorded_at = self._clock()

    async def listed(self, owner: str | None = None) -> AsyncIterator[ListedKey]:
        """Yield the keys, of one owner or of all, by id. Two listings, and one request for each key.

        A key that cannot be read is left out, and is not accepted either.
        """
        uses = await self._uses()
        async with closing(self._storage.list_children(KEYS)) as names:
            ids = [name async for name in names if is_key_id(name)]
        for some in slices(ids, REQUESTS_AT_ONCE):
            for key in await map_bounded(self._read, some):
                if key is not None and owner in {None, key.owner}:
                    yield ListedKey(key=key, used_at=uses.get(key.id))

    async def revoke(self, key_id: str, *, owner: str | None = None) -> AccessKey:
        """Revoke a key. Every replica refuses it after `VIEW_SECONDS_MAX` at the latest.

        Args:
            key_id: the id of the key.
            owner: the only owner whose keys can be revoked; others are unknown.

        Raises:
            UnknownError: there is no such key.
        """
        key = await self._read(key_id) if is_key_id(key_id) else None
        if key is None or owner not in {None, key.owner}:
            raise UnknownError("there is no such key", detail={"key": key_id[:64]})
        await self._storage.delete([access_key(key_id), last_use(key_id)])
        self._views.pop(key_id, None)
        return key

    async def _read(self, key_id: str) -> AccessKey | None:
        try:
            return AccessKey.decode(key_id, await self._storage.read(access_key(key_id), limit=_KEY_BYTES_MAX))
        except (ObjectNotFoundError, ObjectTooLargeError, StorageCorruptError):
            return None

    async def _uses(self) -> Mapping[str, datetime]:
        prefix = f"{USES}/"
        async with closing(self._storage.walk(USES)) as objects:
            return {key.removeprefix(prefix): stat.modified_at async for key, stat in objects}
