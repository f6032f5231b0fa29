"""Protection of acknowledged content from garbage collection, in each serving process.

The guard does three things. It drops cached descriptors of blobs that a round lists for removal. It writes pins for
digests that clients recently checked, read or pushed. It confirms every reference that a request wrote before the
response is sent. Only the last is required for safety (docs/adr/0007).
"""

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from core.collection.pins import Pins
from core.collection.rounds import RoundDigests, Rounds, RoundState
from core.concurrency import map_bounded
from core.errors import StorageUnavailableError
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.ports.descriptor_cache import DescriptorCache
from core.store.link_keys import repository_of
from core.store.links import Links
from core.trash.store import Trash

_logger = logging.getLogger(__name__)

SETTLE_SECONDS: Final = 60.0
"""Seconds a collector waits after publishing a round. A guard's view of the rounds expires after half that time."""
TOUCH_SECONDS: Final = 6 * 3600.0
"""Seconds a client has from finding that a layer exists to pushing its manifest."""
_TOUCHES_MAX: Final = 50_000
SILENCE_SECONDS: Final = 9.0
"""Seconds without a heartbeat after which requests stop waiting for a round: three heartbeats are missing.

A collector that is only slow restores the content that was pinned, so a push that continues too early loses nothing.
"""
_ROUND_MEMORY_SECONDS: Final = 600.0
"""Seconds a round is remembered after it was last seen. A request that takes longer checks everything again."""
_CACHE_SECONDS: Final = 3600.0
"""Longer than any descriptor cache keeps an entry."""
_BATCH_WAIT_SECONDS_MAX: Final = 60.0
"""Longest wait of a push for a batch. Most batches take one or two seconds."""
_BATCH_POLL_SECONDS: Final = 0.5
_ATTEMPTS: Final = 3
_NEVER: Final = float("-inf")


@dataclass(frozen=True, slots=True)
class Need:
    """A link and its blob that a response relies on."""

    link: str
    digest: Digest


Expand = Callable[[Need], Awaitable[Sequence[Need]]]
"""Callback that returns the references of a manifest, and nothing for a blob."""


@dataclass(slots=True)
class _KnownRound:
    listed: RoundDigests
    state: RoundState
    seen_at: float
    """Start of the last listing that contained the round."""
    changed_at: float
    """Start of the listing that showed the last change of the round. A round changes while its collector is alive."""

    def see(self, state: RoundState, at: float) -> None:
        if state.signs != self.state.signs:
            self.changed_at = at
        self.state, self.seen_at = state, at


class CollectionGuard:
    """Watches the rounds for one process; safe for any number of tasks, belongs to one event loop.

    Args:
        rounds: written by collectors, read here.
        pins: written here, read by collectors.
        links: reads links, and writes back those that were removed.
        trash: restores removed blobs.
        cache: the descriptor cache from which blobs listed for removal are dropped.
        clock: monotonic seconds, including the time while the machine is suspended.
        sleep: suspends the task for the given number of seconds.
        settle_seconds: how long the collectors of this store wait; the same for all processes.
        touch_seconds: how long a digest stays protected after a client checked or read it.
        related: returns the digests that a touched digest refers to, as far as this process has them in memory.
        is_renewable: whether a repository's content is fetched again when it is gone, so that no pull protects it.
    """

    def __init__(
        self,
        *,
        rounds: Rounds,
        pins: Pins,
        links: Links,
        trash: Trash,
        cache: DescriptorCache,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        settle_seconds: float = SETTLE_SECONDS,
        touch_seconds: float = TOUCH_SECONDS,
        related: Callable[[Digest], Iterable[Digest]] = lambda _digest: (),
        is_renewable: Callable[[RepositoryName], bool] | None = None,
    ) -> None:
        self._rounds = rounds
        self._pins = pins
        self._links = links
        self._trash = trash
        self._cache = cache
        self._clock = clock
        self._sleep = sleep
        self._settle_seconds = settle_seconds
        self._touch_seconds = touch_seconds
        self._related = related
        self._is_renewable = is_renewable
        self._known: dict[str, _KnownRound] = {}
        self._touched: OrderedDict[Digest, float] = OrderedDict()
        self._viewed_at = _NEVER
        self._unbroken_since = _NEVER
        self._broken_at = _NEVER
        self._asked_at = _NEVER
        self._failed_at = _NEVER

    @property
    def poll_seconds(self) -> float:
        """Interval at which `poll` should be called."""
        return self._settle_seconds / 4

    async def poll(self) -> None:
        """List the rounds if a request relied on content recently. At most one storage request, unless a round is new.

        Raises:
            StorageError: the store failed. The next request that needs a view lists the rounds itself.
        """
        if self._clock() - self._asked_at <= max(self._touch_seconds, _CACHE_SECONDS):
            await self._refresh()

    async def ticket(self) -> float:
        """Return a ticket for `confirm`. Call this before checking what exists in storage.

        The ticket is the start of a view of the rounds that is fresh enough. Costs no storage request, or one if `poll`
        has not run recently.
        """
        self._asked_at = self._clock()
        if not self._is_fresh():
            await self._refresh()
        return self._viewed_at

    async def rely_on(self, digest: Digest, name: RepositoryName | None = None) -> bool:
        """Protect a digest that a response is about to report as existing. Call this before checking that it exists.

        A digest found after this call stays, so the client need not push it again. Costs no storage request in the
        common case, and two if a round lists the digest for removal. Waits for the end of a batch that is removing the
        digest.

        Pulls must continue when only listings fail. In that case this method raises nothing and protects nothing, and a
        push that relies on the response detects a loss in `confirm`.

        Args:
            digest: the content.
            name: the repository of the response. The content of a renewable one is not protected.

        Returns:
            Whether a round lists the digest for removal. If so, the content it refers to may need `rescue`.
        """
        self.touch(digest, name)
        try:
            if not self._is_fresh():
                await self._refresh_unless_failing()
            if not self._is_in_view(digest) or self._renews(name):
                return False
            await self._pin([digest])
        except StorageUnavailableError as error:
            self._failed_at = self._clock()
            _logger.warning("cannot read garbage-collection state: %s", error)
            return False
        return True

    def touch(self, digest: Digest, name: RepositoryName | None = None) -> None:
        """Record that a client uses a digest. The guard pins the digest if a round lists it for removal.

        Not if the client read it from `name` and this repository is renewable: nobody can push there.
        """
        self._asked_at = self._clock()
        if self._renews(name):
            return
        self._touched[digest] = self._asked_at
        self._touched.move_to_end(digest)
        if len(self._touched) > _TOUCHES_MAX:
            self._touched.popitem(last=False)

    async def confirm(
        self, ticket: float, references: Sequence[Need], *, expand: Expand | None = None
    ) -> Sequence[Digest]:
        """Protect everything that was checked or written since `ticket`. Call this before responding.

        Costs no storage request in the common case. If a round lists some of the references for removal, this method
        writes pins, waits for the batch that is removing them, and restores the content that the batch removed.

        Args:
            ticket: from before the first check.
            references: the links and blobs that the response relies on.
            expand: returns the references of a manifest, which are rescued too.

        Returns:
            The digests that are gone and cannot be restored. If there are any, the request must fail.

        Raises:
            StorageUnavailableError: the store is too slow to provide a fresh view of the rounds.
        """
        for each in references:
            self.touch(each.digest, None if self._is_renewable is None else repository_of(each.link))
        for _ in range(_ATTEMPTS):
            await self.ticket()
            if not self._is_fresh():
                # The listing took so long that the view has expired already.
                continue
            if self._unbroken_since <= ticket and self._clock() - ticket < _ROUND_MEMORY_SECONDS:
                endangered = [each for each in references if self._was_listed(each.digest, ticket)]
                return await self.rescue(endangered, expand) if endangered else ()
            # Views are missing since the ticket, so a whole round may have passed unseen. Earlier checks do not count.
            ticket = await self._refresh()
            if missing := await self.rescue(references, expand):
                return missing
        raise StorageUnavailableError("cannot confirm garbage-collection state: the store is too slow")

    async def rescue(self, needs: Sequence[Need], expand: Expand | None = None) -> Sequence[Digest]:
        """Protect these references and everything they lead to, and return the digests that are lost.

        Writes pins, waits for batches that are removing the references, and restores the content that they removed.
        """
        met: set[Need] = set()
        lost: list[Digest] = []
        while needs:
            met.update(needs)
            await self._pin([each.digest for each in needs])
            lost += await self._restore_all(needs)
            found = [await expand(each) for each in needs] if expand else []
            needs = [each for some in found for each in some if each not in met]
        return lost

    async def recall(self, name: RepositoryName, digest: Digest) -> int | None:
        """Return the cached size of a blob, or None if the cache has none or is not reliable.

        Call this after `ticket` or `rely_on`.
        """
        if self._clock() - self._broken_at < _CACHE_SECONDS or not self._is_fresh():
            # A round that this process missed may have removed the blob.
            return None
        return await self._cache.get(name, digest)

    async def remember(self, name: RepositoryName, digest: Digest, size: int) -> None:
        """Cache the size of a blob that was seen in storage, unless a round lists the blob for removal."""
        if self._is_listed(digest):
            return
        await self._cache.put(name, digest, size)
        # Check again: a round may have appeared while the cache was being written.
        if self._is_listed(digest):
            await self._cache.forget(name, digest)

    def _renews(self, name: RepositoryName | None) -> bool:
        return self._is_renewable is not None and name is not None and self._is_renewable(name)

    def _is_fresh(self) -> bool:
        return self._clock() - self._viewed_at <= self._settle_seconds / 2

    def _is_listed(self, digest: Digest) -> bool:
        return any(known.listed.get(digest) for known in self._known.values())

    def _is_in_view(self, digest: Digest) -> bool:
        return any(known.seen_at >= self._viewed_at and known.listed.get(digest) for known in self._known.values())

    def _was_listed(self, digest: Digest, since: float) -> bool:
        return any(known.seen_at >= since and known.listed.get(digest) for known in self._known.values())

    def _is_under_way(self, known: _KnownRound, digest: Digest) -> bool:
        batches = known.listed.get(digest)
        is_there = known.seen_at >= self._viewed_at
        return is_there and batches is not None and batches.first <= known.state.batch <= batches.last

    async def _refresh_unless_failing(self) -> None:
        if self._clock() - self._failed_at > self.poll_seconds:
            await self._refresh()

    async def _refresh(self) -> float:
        """List the rounds, and return when the listing began."""
        began_at = self._clock()
        states = {round_id: state for round_id, state in (await self._rounds.states()).items() if state.exists}
        is_whole = True
        for round_id, state in states.items():
            known = self._known.get(round_id)
            if known is None:
                is_whole &= await self._add_round(round_id, state, began_at)
            elif began_at >= known.seen_at:
                known.see(state, began_at)
        if began_at >= self._viewed_at:
            self._apply_view(began_at, is_whole=is_whole)
        return began_at

    def _apply_view(self, began_at: float, *, is_whole: bool) -> None:
        now = self._clock()
        # A round lasts at least the settle time. If two views are further apart, a round may have been missed.
        if now - self._viewed_at >= self._settle_seconds or not is_whole:
            self._unbroken_since = began_at
            # Before its first view, this process has put nothing into the cache.
            self._broken_at = _NEVER if self._viewed_at == _NEVER else now
        self._viewed_at = began_at
        for round_id, known in list(self._known.items()):
            if known.seen_at < now - _ROUND_MEMORY_SECONDS:
                del self._known[round_id]

    async def _add_round(self, round_id: str, state: RoundState, began_at: float) -> bool:
        """Read a new round. Return False if the round ended before it was read."""
        found = await self._rounds.read(round_id)
        if found is None:
            return False
        listed, digests = found
        if listed.settle_seconds < self._settle_seconds:
            _logger.error(
                "collector waits for less time than this server expects: use the same `settletime` everywhere",
                extra={"round": round_id, "seconds": listed.settle_seconds},
            )
        # A concurrent call may have recorded the round already, with a later `seen_at`.
        if round_id not in self._known:
            self._known[round_id] = _KnownRound(listed, state, seen_at=began_at, changed_at=began_at)
        await self._pins.write(self._endangered_touches(listed))
        for digest in digests:
            await self._cache.forget_everywhere(digest)
        return True

    def _endangered_touches(self, listed: RoundDigests) -> list[Digest]:
        oldest = self._clock() - self._touch_seconds
        recent = [digest for digest, touched_at in self._touched.items() if touched_at >= oldest]
        related = [other for digest in recent for other in self._related(digest)]
        return [digest for digest in dict.fromkeys([*recent, *related]) if listed.get(digest)]

    async def _pin(self, digests: Sequence[Digest]) -> None:
        """Write pins, and wait for batches that may have begun before the pins existed."""
        await self._pins.write(set(digests))
        await self._refresh()
        gives_up_at = self._clock() + _BATCH_WAIT_SECONDS_MAX
        waited_for = self._under_way(digests)
        # Wait only for the current batches: later ones honour the pins, and earlier ones are complete.
        while waited_for & self._under_way(digests) and self._clock() < gives_up_at:
            await self._sleep(_BATCH_POLL_SECONDS)
            await self._refresh()

    def _under_way(self, digests: Sequence[Digest]) -> set[tuple[str, int]]:
        """Return the batches that are removing any of these digests, and whose collectors are alive."""
        oldest = self._clock() - SILENCE_SECONDS
        return {
            (round_id, known.state.batch)
            for round_id, known in self._known.items()
            if known.changed_at >= oldest and any(self._is_under_way(known, digest) for digest in digests)
        }

    async def _restore_all(self, references: Sequence[Need]) -> Sequence[Digest]:
        """Restore all references, from the trash if needed, and return the digests that are lost."""
        verdicts = await map_bounded(self._restore, references)
        return [each.digest for each, is_there in zip(references, verdicts, strict=True) if not is_there]

    async def _restore(self, reference: Need) -> bool:
        target = await self._links.read(reference.link)
        if not await self._trash.return_blob(target or reference.digest):
            return False
        if target is None:
            await self._links.write(reference.link, reference.digest)
        return True
