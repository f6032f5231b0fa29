"""What a process that serves does so that collection takes nothing that it answered for.

Three things, of which only the last is needed for safety: it forgets cached descriptors of condemned blobs, it speaks
up for what it lately told clients to be there, and it confirms every reference that it wrote before it answers
(docs/adr/0007).
"""

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from core.collection.rounds import Condemned, Rounds, RoundState
from core.collection.spares import Spares
from core.concurrency import map_bounded
from core.digest import Digest
from core.errors import StorageUnavailableError
from core.links import Links
from core.names import RepositoryName
from core.ports.descriptor_cache import DescriptorCache
from core.trash import Trash

_logger = logging.getLogger(__name__)

SETTLE_SECONDS: Final = 60.0
"""How long a collector waits after it condemned; the guards' views must be younger than half of it."""
TOUCH_SECONDS: Final = 6 * 3600.0
"""How long a push may take from when it was told that a layer is there to its manifest."""
_TOUCHES_MAX: Final = 50_000
SILENCE_SECONDS: Final = 9.0
"""After so long without a sign of life of its collector, nobody waits for a round any more: three signs are missing.

A collector that lives and is only slow puts back what was spared, so a push that goes on too early loses nothing.
"""
_ROUND_MEMORY_SECONDS: Final = 600.0
"""How long a round is remembered after its end; a request that takes longer looks at everything again."""
_CACHE_SECONDS: Final = 3600.0
"""Longer than any cache of descriptors keeps an entry."""
_PATIENCE_SECONDS: Final = 60.0
"""How long a push waits for a batch: most take a second or two."""
_WAIT_SECONDS: Final = 0.5
_ATTEMPTS: Final = 3
_NEVER: Final = float("-inf")


@dataclass(frozen=True, slots=True)
class Need:
    """Something that an answer relies on: a link, and the blob behind it."""

    link: str
    digest: Digest


Expand = Callable[[Need], Awaitable[Sequence[Need]]]
"""Returns what a manifest leads to; nothing for a blob."""


@dataclass(slots=True)
class _KnownRound:
    condemned: Condemned
    state: RoundState
    seen_at: float
    """When the last listing that showed it began."""
    changed_at: float
    """When its collector was last heard of."""

    def see(self, state: RoundState, at: float) -> None:
        if state.signs != self.state.signs:
            self.changed_at = at
        self.state, self.seen_at = state, at


class CollectionGuard:
    """Watches the rounds for one process; safe for any number of tasks, belongs to one event loop.

    Args:
        rounds: what collectors tell.
        spares: what collectors are told.
        links: to look at and to write what a reference needs.
        trash: where blobs come back from.
        cache: from which condemned blobs are dropped.
        clock: monotonic seconds, which go on while the machine sleeps.
        sleep: suspends for so many of them.
        settle_seconds: what the collectors of this store wait; the same for all processes.
        touch_seconds: for how long something is spoken up for that a client was told to be there.
        related: returns what a digest that was touched refers to, as far as this process knows without asking.
    """

    def __init__(
        self,
        *,
        rounds: Rounds,
        spares: Spares,
        links: Links,
        trash: Trash,
        cache: DescriptorCache,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        settle_seconds: float = SETTLE_SECONDS,
        touch_seconds: float = TOUCH_SECONDS,
        related: Callable[[Digest], Iterable[Digest]] = lambda _digest: (),
    ) -> None:
        self._rounds = rounds
        self._spares = spares
        self._links = links
        self._trash = trash
        self._cache = cache
        self._clock = clock
        self._sleep = sleep
        self._settle_seconds = settle_seconds
        self._touch_seconds = touch_seconds
        self._related = related
        self._known: dict[str, _KnownRound] = {}
        self._touched: OrderedDict[Digest, float] = OrderedDict()
        self._viewed_at = _NEVER
        self._unbroken_since = _NEVER
        self._broken_at = _NEVER
        self._asked_at = _NEVER
        self._failed_at = _NEVER

    @property
    def poll_seconds(self) -> float:
        """How often `poll` wants to be called."""
        return self._settle_seconds / 4

    async def poll(self) -> None:
        """Look at the rounds, if anything was asked or touched lately. One storage request, or none.

        Raises:
            StorageError: the store failed; the next request that needs a view looks for itself.
        """
        if self._clock() - self._asked_at <= max(self._touch_seconds, _CACHE_SECONDS):
            await self._look()

    async def ticket(self) -> float:
        """Begin to rely on what is in storage; to be called before looking, and given to `confirm`.

        No storage request, or one where `poll` has not looked lately.
        """
        self._asked_at = self._clock()
        if not self._is_fresh():
            await self._look()
        return self._viewed_at

    async def rely_on(self, digest: Digest) -> bool:
        """Speak up for a digest that a client will be told of; to be called before looking whether it is there.

        What is there afterwards stays, so that the client need not send it again. No storage request in the common
        case, two for a digest that is condemned; where a batch is removing it right now, its end is waited for.

        Pulls must go on where only listings fail: then nothing is raised, nothing is spoken up for, and a push that
        relies on the answer finds out by itself.

        Returns:
            Whether it was condemned: then what it leads to may have to be rescued.
        """
        self.touch(digest)
        try:
            if not self._is_fresh():
                await self._look_unless_in_vain()
            if not self._is_in_view(digest):
                return False
            await self._spare([digest])
        except StorageUnavailableError as error:
            self._failed_at = self._clock()
            _logger.warning("what garbage collection does cannot be seen right now: %s", error)
            return False
        return True

    def touch(self, digest: Digest) -> None:
        """Speak up for a digest that a client is reading, should a round condemn it."""
        self._touched[digest] = self._asked_at = self._clock()
        self._touched.move_to_end(digest)
        if len(self._touched) > _TOUCHES_MAX:
            self._touched.popitem(last=False)

    async def confirm(
        self, ticket: float, references: Sequence[Need], *, expand: Expand | None = None
    ) -> Sequence[Digest]:
        """Make sure that what was looked at or written since `ticket` stays; call it before answering.

        No storage request in the common case. Where a round condemned something of it: a spare is written, a batch
        that is being removed is waited for, and what it took is brought back.

        Args:
            ticket: from before the first look.
            references: what the answer relies on.
            expand: tells what a manifest among them leads to, which is then rescued too.

        Returns:
            What is gone and cannot be brought back: then the answer must not be given.

        Raises:
            StorageUnavailableError: the store is too slow to tell.
        """
        for each in references:
            self.touch(each.digest)
        for _ in range(_ATTEMPTS):
            await self.ticket()
            if not self._is_fresh():
                continue
            if self._unbroken_since <= ticket and self._clock() - ticket < _ROUND_MEMORY_SECONDS:
                endangered = [each for each in references if self._was_condemned(each.digest, ticket)]
                return await self.rescue(endangered, expand) if endangered else ()
            # This process stood still, and a whole round may have come and gone: what was seen before counts no more.
            ticket = await self._look()
            if missing := await self.rescue(references, expand):
                return missing
        raise StorageUnavailableError("the store is too slow to tell what garbage collection does")

    async def rescue(self, needs: Sequence[Need], expand: Expand | None = None) -> Sequence[Digest]:
        """Spare these, wait for batches that are removing them, and have back what was taken; return what is lost."""
        met: set[Need] = set()
        lost: list[Digest] = []
        while needs:
            met.update(needs)
            await self._spare([each.digest for each in needs])
            lost += await self._restore_all(needs)
            found = [await expand(each) for each in needs] if expand else []
            needs = [each for some in found for each in some if each not in met]
        return lost

    async def recall(self, name: RepositoryName, digest: Digest) -> int | None:
        """Return what the cache knows of a blob, if it can be believed; called after `ticket` or `rely_on`."""
        if self._clock() - self._broken_at < _CACHE_SECONDS or not self._is_fresh():
            # A round that nobody here saw may have taken the blob.
            return None
        return await self._cache.get(name, digest)

    async def remember(self, name: RepositoryName, digest: Digest, size: int) -> None:
        """Have the cache know a blob that was seen in storage, unless a round is about to take it."""
        if self._is_condemned(digest):
            return
        await self._cache.put(name, digest, size)
        # Again, for a round that was met while the cache was written.
        if self._is_condemned(digest):
            await self._cache.forget(name, digest)

    def _is_fresh(self) -> bool:
        return self._clock() - self._viewed_at <= self._settle_seconds / 2

    def _is_condemned(self, digest: Digest) -> bool:
        return any(known.condemned.get(digest) for known in self._known.values())

    def _is_in_view(self, digest: Digest) -> bool:
        return any(known.seen_at >= self._viewed_at and known.condemned.get(digest) for known in self._known.values())

    def _was_condemned(self, digest: Digest, since: float) -> bool:
        return any(known.seen_at >= since and known.condemned.get(digest) for known in self._known.values())

    def _is_under_way(self, known: _KnownRound, digest: Digest) -> bool:
        batches = known.condemned.get(digest)
        is_there = known.seen_at >= self._viewed_at
        return is_there and batches is not None and batches.first <= known.state.batch <= batches.last

    async def _look_unless_in_vain(self) -> None:
        if self._clock() - self._failed_at > self.poll_seconds:
            await self._look()

    async def _look(self) -> float:
        """Have a new view of the rounds, and return when it began."""
        began_at = self._clock()
        states = {round_id: state for round_id, state in (await self._rounds.states()).items() if state.exists}
        is_whole = True
        for round_id, state in states.items():
            known = self._known.get(round_id)
            if known is None:
                is_whole &= await self._meet(round_id, state, began_at)
            elif began_at >= known.seen_at:
                known.see(state, began_at)
        if began_at >= self._viewed_at:
            self._take_view(began_at, is_whole=is_whole)
        return began_at

    def _take_view(self, began_at: float, *, is_whole: bool) -> None:
        now = self._clock()
        # A round lasts longer than a settle time: with a longer gap between two looks one may have been missed.
        if now - self._viewed_at >= self._settle_seconds or not is_whole:
            self._unbroken_since = began_at
            # Before its first view, a process has remembered nothing.
            self._broken_at = _NEVER if self._viewed_at == _NEVER else now
        self._viewed_at = began_at
        for round_id, known in list(self._known.items()):
            if known.seen_at < now - _ROUND_MEMORY_SECONDS:
                del self._known[round_id]

    async def _meet(self, round_id: str, state: RoundState, began_at: float) -> bool:
        """Take in a new round; False where it ended before it could be read."""
        found = await self._rounds.read(round_id)
        if found is None:
            return False
        condemned, digests = found
        if condemned.settle_seconds < self._settle_seconds:
            _logger.error(
                "a collector waits less than this server expects: `settletime` must be the same everywhere",
                extra={"round": round_id, "seconds": condemned.settle_seconds},
            )
        # Another look may have met it meanwhile, and have seen it later than this one.
        if round_id not in self._known:
            self._known[round_id] = _KnownRound(condemned, state, seen_at=began_at, changed_at=began_at)
        await self._spares.write(self._endangered_touches(condemned))
        for digest in digests:
            await self._cache.forget_everywhere(digest)
        return True

    def _endangered_touches(self, condemned: Condemned) -> list[Digest]:
        oldest = self._clock() - self._touch_seconds
        recent = [digest for digest, touched_at in self._touched.items() if touched_at >= oldest]
        related = [other for digest in recent for other in self._related(digest)]
        return [digest for digest in dict.fromkeys([*recent, *related]) if condemned.get(digest)]

    async def _spare(self, digests: Sequence[Digest]) -> None:
        """Write spares, and wait for a batch that may have begun before they were there."""
        await self._spares.write(set(digests))
        await self._look()
        gives_up_at = self._clock() + _PATIENCE_SECONDS
        waited_for = self._under_way(digests)
        # A later batch honours the spares that were written before it, and an earlier one is over.
        while waited_for & self._under_way(digests) and self._clock() < gives_up_at:
            await self._sleep(_WAIT_SECONDS)
            await self._look()

    def _under_way(self, digests: Sequence[Digest]) -> set[tuple[str, int]]:
        """Return the batches that are removing something of these right now, by collectors that are alive."""
        oldest = self._clock() - SILENCE_SECONDS
        return {
            (round_id, known.state.batch)
            for round_id, known in self._known.items()
            if known.changed_at >= oldest and any(self._is_under_way(known, digest) for digest in digests)
        }

    async def _restore_all(self, references: Sequence[Need]) -> Sequence[Digest]:
        """Have all references there, from the trash where need be, and return what is lost."""
        verdicts = await map_bounded(self._restore, references)
        return [each.digest for each, is_there in zip(references, verdicts, strict=True) if not is_there]

    async def _restore(self, reference: Need) -> bool:
        target = await self._links.read(reference.link)
        if not await self._trash.return_blob(target or reference.digest):
            return False
        if target is None:
            await self._links.write(reference.link, reference.digest)
        return True
