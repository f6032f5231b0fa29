"""Descriptors in Redis, under distribution's keys, so that both programs may share one Redis.

    repository::<name>::blobs            set of the digests that the repository holds
    repository::<name>::blobs::<digest>  hash: mediatype
    blobs::<digest>                      hash: digest, size, mediatype

Distribution considers a blob present in a repository if all three keys say so, and its keys never expire. This adapter
adds a field `proof` to both hashes: a random text that is new each time `blobs::<digest>` is created. So deleting that
one key invalidates this adapter's entries for the blob in all repositories, even after the blob has returned to one of
them. The adapter's hashes expire after `TIME_TO_LIVE_SECONDS`.

An entry was correct when it was written, and is only a hint: its reader must handle a missing blob.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import RedisError
from typing_extensions import override

from adapters.descriptor_cache.breaker import CircuitBreaker
from adapters.descriptor_cache.redis_client import open_client
from adapters.descriptor_cache.redis_options import RedisOptions
from core.model.digest import Digest
from core.model.media_types import OCTET_STREAM
from core.model.names import RepositoryName
from core.ports.descriptor_cache import DescriptorCache

if TYPE_CHECKING:
    from redis.asyncio import Redis

_logger = logging.getLogger(__name__)

TIME_TO_LIVE_SECONDS: Final = 3600
"""The longest time for which a deletion that did not reach Redis may go unnoticed; each hit saves a storage request."""
_PENDING_MAX: Final = 50_000
_BATCH: Final = 1_000
_BATCH_DELAY_SECONDS: Final = 0.05

Command = tuple[str | int, ...]
Forgotten = tuple[RepositoryName | None, Digest]
"""An entry to forget: in one repository, or (None) in all."""


def _ignore() -> None:
    """Do nothing."""


class RedisDescriptorCache(DescriptorCache):
    """Entries shared by processes, replicas and distribution; one per process.

    A failing or slow Redis counts as a miss, and after a few failures receives no requests for some seconds. Deletions
    that could not be sent are sent before any entry is used again.

    Args:
        options: address and credentials of Redis.
        clock: returns monotonic seconds.
        on_error: called for each operation that failed.
    """

    name = "redis"

    def __init__(
        self,
        options: RedisOptions,
        *,
        clock: Callable[[], float],
        on_error: Callable[[], None] = _ignore,
    ) -> None:
        self.options = options
        self._clock = clock
        self._on_error = on_error
        self._breaker = CircuitBreaker(clock)
        self._stack = AsyncExitStack()
        self._client: Redis | None = None
        self._pending: dict[Forgotten, object] = {}
        self._sending: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._trusts_from = float("-inf")

    @override
    async def start(self) -> None:
        self._client = await self._stack.enter_async_context(open_client(self.options))

    @override
    async def stop(self) -> None:
        if self._sending is not None:
            await asyncio.wait([self._sending])
        self._client = None
        try:
            async with asyncio.timeout(self.options.operation_seconds):
                await self._stack.aclose()
        except (RedisError, OSError) as error:
            # With TLS, a server that hangs does not answer the end of the connection. No data is lost by that.
            _logger.warning("redis did not end its connections: %s", type(error).__name__)

    @override
    async def get(self, name: RepositoryName, digest: Digest) -> int | None:
        if self._clock() < self._trusts_from or not await self._send_pending():
            return None
        replies = await self._execute(
            [
                ("SISMEMBER", _members(name), digest),
                ("HMGET", _everywhere(digest), "digest", "size", "proof"),
                ("HMGET", _here(name, digest), "mediatype", "proof"),
            ],
            is_whole=False,
        )
        return None if replies is None else _size_in(digest, *replies)

    @override
    async def put(self, name: RepositoryName, digest: Digest, size: int) -> None:
        if not await self._send_pending():
            return
        everywhere, here, fresh = _everywhere(digest), _here(name, digest), secrets.token_hex(8)
        replies = await self._execute(
            [
                ("HSET", everywhere, "digest", digest, "size", size),
                ("HSETNX", everywhere, "mediatype", OCTET_STREAM),
                ("HSETNX", everywhere, "proof", fresh),
                ("EXPIRE", everywhere, TIME_TO_LIVE_SECONDS),
                ("HGET", everywhere, "proof"),
            ]
        )
        if replies is None:
            return
        # Distribution forgets a blob by deleting its own fields; a proof left over from before is then invalid for all
        # repositories.
        has_stale_proof = replies[0] and not replies[2]
        proof = fresh if has_stale_proof else replies[-1]
        # If the blob is forgotten everywhere at this moment, this proof is already invalid.
        await self._execute(
            [
                *([("HSET", everywhere, "proof", proof)] if has_stale_proof else []),
                ("SADD", _members(name), digest),
                ("HSET", here, "mediatype", OCTET_STREAM, "proof", proof),
                ("EXPIRE", here, TIME_TO_LIVE_SECONDS),
            ]
        )

    @override
    async def forget(self, name: RepositoryName, digest: Digest) -> None:
        self._note((name, digest))
        await self._send_pending()

    @override
    async def forget_everywhere(self, digest: Digest) -> None:
        # Garbage collection forgets thousands of blobs, one after the other, while requests wait: send them in batches.
        self._note((None, digest))
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send_soon())

    def _note(self, forgotten: Forgotten) -> None:
        self._pending[forgotten] = object()
        if len(self._pending) > _PENDING_MAX:
            # After this time, all entries of this adapter that should have been forgotten have expired.
            self._trusts_from = self._clock() + TIME_TO_LIVE_SECONDS
            self._pending.clear()

    async def _send_soon(self) -> None:
        await asyncio.sleep(_BATCH_DELAY_SECONDS)
        await self._send_pending()

    async def _send_pending(self) -> bool:
        """Send the pending deletions; return whether Redis has received all of them."""
        if not self._pending:
            return True
        # One batch at a time: a deletion still in flight must not remove an entry that was put after another deletion.
        async with self._turn:
            while batch := list(islice(self._pending.items(), _BATCH)):
                if await self._execute([command for each, _ in batch for command in _deletions(*each)]) is None:
                    return False
                for each, mark in batch:
                    # A deletion that was requested again in the meantime is still pending.
                    if self._pending.get(each) is mark:
                        del self._pending[each]
        return True

    async def _execute(self, commands: Sequence[Command], *, is_whole: bool = True) -> list[Any] | None:
        """Send some commands together, atomically if `is_whole`; return the replies, or None if Redis is down."""
        if self._client is None or not self._breaker.allows():
            return None
        was_open = self._breaker.is_open
        try:
            async with (
                asyncio.timeout(self.options.operation_seconds),
                self._client.pipeline(transaction=is_whole) as pipe,
            ):
                for command in commands:
                    pipe.pipeline_execute_command(*command)  # type: ignore[no-untyped-call] # theirs
                replies: list[Any] = await pipe.execute()
        except (RedisError, OSError) as error:
            self._breaker.fail()
            self._on_error()
            # The error's text is not logged: it may contain the data sent.
            level = logging.WARNING if self._breaker.is_open and not was_open else logging.DEBUG
            _logger.log(level, "redis unavailable, using storage: %s", type(error).__name__)
            return None
        self._breaker.succeed()
        if was_open:
            _logger.info("redis available again")
        return replies


def _size_in(digest: Digest, is_member: int, everywhere: list[bytes | None], here: list[bytes | None]) -> int | None:
    """Return the size if the replies show that the repository holds the blob under its own digest, else None."""
    target, size, proof = everywhere
    media_type, own_proof = here
    if not is_member or media_type is None or target != digest.encode() or size is None or not size.isdigit():
        return None
    # Distribution's entries have no proof.
    return int(size) if own_proof is None or own_proof == proof else None


def _deletions(name: RepositoryName | None, digest: Digest) -> Sequence[Command]:
    if name is None:
        return [("DEL", _everywhere(digest))]
    return [("SREM", _members(name), digest), ("DEL", _here(name, digest))]


def _members(name: RepositoryName) -> str:
    return f"repository::{name}::blobs"


def _here(name: RepositoryName, digest: Digest) -> str:
    return f"repository::{name}::blobs::{digest}"


def _everywhere(digest: Digest) -> str:
    return f"blobs::{digest}"
