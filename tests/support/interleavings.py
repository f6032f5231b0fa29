"""Runs replicas step by step in every order that their storage requests can come in.

An order is followed only as far as it leads to a state that no other order led to. A state is the content of the store,
how far each replica is, and what it saw of the store. A replica sees nothing but the store, so equal states go on
equally.
"""

from collections.abc import Awaitable, Callable, Coroutine, Generator, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from typing_extensions import override

from core.ports.blob_storage import BlobStorage
from tests.support.faulty_blob_storage import FaultyBlobStorage

T = TypeVar("T")


class Step:
    """Awaited once: ends the turn of the coroutine."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class SteppingBlobStorage(FaultyBlobStorage):
    """The store as one replica sees it: a turn ends before every request for a key that holds `marker`.

    Requests for other keys, which the replicas do not contend for, would only multiply the orders.
    """

    def __init__(self, inner: BlobStorage, *, marker: str) -> None:
        super().__init__(inner)
        self._marker = marker
        self.seen: list[Hashable] = []
        """What the replica knows of the store: each request so far, with its answer."""

    @override
    async def begin(self, operation: str, key: str) -> None:
        if self._marker in key:
            await Step()
        await super().begin(operation, key)
        # The answer comes in pieces. The whole store stands for it.
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
    """A replica and what it is about to do."""

    storage: SteppingBlobStorage
    work: Coroutine[Any, Any, Any]


@dataclass
class Interleaving:
    """Two replicas on one store; `turns` are the replicas that went so far, as their numbers 0 and 1."""

    store: BlobStorage
    replicas: Sequence[Replica]

    def __post_init__(self) -> None:
        self.turns: list[int] = []
        self._alive = list(range(len(self.replicas)))

    @property
    def is_over(self) -> bool:
        return not self._alive

    @property
    def choices(self) -> Sequence[int]:
        """The replicas that can go next."""
        return tuple(self._alive)

    def go(self, number: int) -> None:
        """Let a replica go until its turn ends."""
        self.turns.append(number)
        try:
            self.replicas[number].work.send(None)
        except StopIteration:
            self._alive.remove(number)

    def state(self) -> Hashable:
        """Return what decides how this goes on."""
        return run_alone(content_of(self.store)), *(
            (self.turns.count(number), tuple(replica.storage.seen)) for number, replica in enumerate(self.replicas)
        )

    def finish(self) -> None:
        """Let the replicas go to their ends, in any order."""
        while not self.is_over:
            self.go(self.choices[0])


def run_alone(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing but steps to its end."""
    while True:
        try:
            coroutine.send(None)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # what the coroutine returned


async def content_of(store: BlobStorage) -> Hashable:
    """Return all that a store holds."""
    return tuple([(key, await store.read(key)) async for key, _ in store.walk("/")])


def interleavings(begin: Callable[[], Interleaving], *, prunes: bool = True) -> Iterator[Interleaving]:
    """Yield finished interleavings that lead to every state that there is.

    Args:
        begin: makes the store and the replicas afresh, always the same.
        prunes: whether orders that lead to a known state are given up; otherwise every order is yielded.
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
