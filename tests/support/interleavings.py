"""Runs replicas step by step, in every possible order of their storage requests.

An order is followed only until it reaches a state that another order has reached. A state consists of the content of
the store, the position of each replica, and the answers that the replica got from the store. A replica depends on
nothing else, so equal states have equal futures.
"""

from collections.abc import Awaitable, Callable, Coroutine, Generator, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from typing_extensions import override

from core.ports.staging import StagingStorage
from tests.support.faulty_blob_storage import FaultyBlobStorage

T = TypeVar("T")


class Step:
    """Awaitable that ends the turn of the coroutine once."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class SteppingBlobStorage(FaultyBlobStorage):
    """View of one replica on the store; a turn ends before every request for a key that contains `marker`.

    Replicas do not contend for other keys, so turns for their requests would only multiply the orders.
    """

    def __init__(self, inner: StagingStorage, *, marker: str) -> None:
        super().__init__(inner)
        self._marker = marker
        self.seen: list[Hashable] = []
        """Each request so far, with its answer."""

    @override
    async def begin(self, operation: str, key: str) -> None:
        if self._marker in key:
            await Step()
        await super().begin(operation, key)
        # The answer comes in pieces, so the content of the whole store stands for it.
        self.seen.append((operation, key, await content_of(self.inner)))

    @override
    async def carry_out(self, operation: str, key: str, call: Callable[[], Awaitable[T]]) -> T:
        if self._marker in key:
            await Step()
        try:
            answer = await super().carry_out(operation, key, call)
        except Exception as error:
            self.seen.append((operation, key, repr(error)))
            raise
        self.seen.append((operation, key, repr(answer)))
        return answer


@dataclass(frozen=True)
class Replica:
    """A replica, and the work that it is about to do."""

    storage: SteppingBlobStorage
    work: Coroutine[Any, Any, Any]


@dataclass
class Interleaving:
    """Two replicas on one store; `turns` lists the replicas that have run so far, by number, 0 or 1."""

    store: StagingStorage
    replicas: Sequence[Replica]

    def __post_init__(self) -> None:
        self.turns: list[int] = []
        self._alive = list(range(len(self.replicas)))

    @property
    def is_over(self) -> bool:
        return not self._alive

    @property
    def choices(self) -> Sequence[int]:
        """The replicas that can run next."""
        return tuple(self._alive)

    def go(self, number: int) -> None:
        """Run a replica until its turn ends."""
        self.turns.append(number)
        try:
            self.replicas[number].work.send(None)
        except StopIteration:
            self._alive.remove(number)

    def state(self) -> Hashable:
        """Return the state that determines the rest of the run."""
        return run_alone(content_of(self.store)), *(
            (self.turns.count(number), tuple(replica.storage.seen)) for number, replica in enumerate(self.replicas)
        )

    def finish(self) -> None:
        """Run the replicas to their ends, in any order."""
        while not self.is_over:
            self.go(self.choices[0])


def run_alone(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that awaits only steps to its end, and return its result."""
    while True:
        try:
            coroutine.send(None)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # the coroutine's result


async def content_of(store: StagingStorage) -> Hashable:
    """Return the complete content of a store."""
    return tuple([(key, await store.read(key)) async for key, _ in store.walk("/")])


def interleavings(begin: Callable[[], Interleaving], *, prunes: bool = True) -> Iterator[Interleaving]:
    """Yield finished interleavings that cover every reachable state.

    Args:
        begin: creates a new store and the replicas, always the same.
        prunes: whether to abandon orders that lead to a known state; otherwise every order is yielded.
    """
    known: set[Hashable] = set()
    pending: list[list[int]] = [[]]
    while pending:
        prefix = pending.pop()
        run = begin()
        for number in prefix:
            run.go(number)
        while not run.is_over:
            state = run.state()
            if prunes and state in known:
                run.finish()
                break
            known.add(state)
            number, *others = run.choices
            pending += [[*run.turns, other] for other in others]
            run.go(number)
        else:
            yield run
