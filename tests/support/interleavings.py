"""Runs operations step by step in every order that their storage requests can come in."""

from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, Sequence
from typing import Any, TypeVar

from typing_extensions import override

from core.ports.blob_storage import BlobStorage
from tests.support.faulty_blob_storage import FaultyBlobStorage

T = TypeVar("T")


class _Step:
    """Awaited once: gives the turn back to whoever drives the coroutine."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class SteppingBlobStorage(FaultyBlobStorage):
    """Gives the turn back before every request for a key that holds `marker`.

    Requests for other keys, which the operations do not contend for, would only multiply the orders.
    """

    def __init__(self, inner: BlobStorage, *, marker: str) -> None:
        super().__init__(inner)
        self._marker = marker

    @override
    async def begin(self, operation: str, key: str) -> None:
        if self._marker in key:
            await _Step()
        await super().begin(operation, key)

    @override
    async def carry_out(self, operation: str, key: str, call: Callable[[], Awaitable[T]]) -> T:
        if self._marker in key:
            await _Step()
        return await super().carry_out(operation, key, call)


def run_alone(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing but steps to its end."""
    while True:
        try:
            coroutine.send(None)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # what the coroutine returned


def run_interleaved(coroutines: Sequence[Coroutine[Any, Any, Any]], turns: Sequence[int]) -> list[int]:
    """Run coroutines side by side; `turns` says who goes next, and who ended is passed over for the next one.

    Returns:
        The turns that were taken, to the end of all.
    """
    alive = dict(enumerate(coroutines))
    wishes = iter(turns)
    taken: list[int] = []
    while alive:
        turn = next(wishes, min(alive))
        if turn not in alive:
            turn = min(alive)
        taken.append(turn)
        try:
            alive[turn].send(None)
        except StopIteration:
            del alive[turn]
    return taken


def interleavings(run: Callable[[Sequence[int]], list[int]]) -> Iterator[list[int]]:
    """Yield the turns of every order in which two coroutines can run; `run` runs them afresh with the given turns."""
    pending: list[list[int]] = [[]]
    while pending:
        prefix = pending.pop()
        taken = run(prefix)
        yield taken
        # Where the first had its turn though the second was alive, the second could have gone.
        pending += [
            [*taken[:position], 1]
            for position in range(len(prefix), len(taken))
            if taken[position] == 0 and 1 in taken[position:]
        ]
