"""Runs actors on one event loop and one store, one storage request at a time, in a chosen order.

Every request of an actor waits for its turn. When no task can proceed any more, the chooser selects the actor whose
request is carried out next, or lets time pass until the next sleeper wakes. The same choices produce the same run.
"""

import asyncio
import itertools
import math
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

from typing_extensions import override

from core.ports.staging import StagingStorage
from tests.support.faulty_blob_storage import FaultyBlobStorage
from tests.support.quiet import quiet
from tests.support.simulated_time import SimulatedTime

T = TypeVar("T")

TIME: Final = "time"
AT_ONCE: Final = ContextVar("at_once", default=False)
"""Whether requests of this task are carried out at once, because its process is assumed never to stall."""


class Chooser(Protocol):
    """Selects the next actor."""

    def __call__(self, waiting: Sequence[str], *, can_wait: bool) -> str:
        """Return one of the actors in `waiting`, or `TIME` if `can_wait`."""


@dataclass(eq=False)
class _Request:
    actor: str
    operation: str
    future: "asyncio.Future[None]"
    gives_up_at: float


@dataclass
class Stage:
    """Scheduler of the turns of actors."""

    time: SimulatedTime
    choose: Chooser
    patience: Mapping[str, float] = field(default_factory=dict)
    """Maximum duration of an actor's requests in seconds; unlimited without an entry."""
    taken: list[tuple[str, str]] = field(default_factory=list)
    """Each turn so far: an actor and its request, such as `write /a/b`, or `TIME` and nothing."""

    def __post_init__(self) -> None:
        self._waiting: list[_Request] = []
        self._daemons: list[asyncio.Task[Any]] = []

    async def turn(self, actor: str, operation: str) -> None:
        """Wait for the actor's turn to carry out a request."""
        if AT_ONCE.get():
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        gives_up_at = self.time.clock() + self.patience.get(actor, math.inf)
        self._waiting.append(_Request(actor, operation, future, gives_up_at))
        await future

    def stand_by(self, daemon: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine beside the actors until they have ended; its requests need no turns."""
        context = copy_context()
        context.run(AT_ONCE.set, True)  # noqa: FBT003 - value of the variable
        self._daemons.append(asyncio.get_running_loop().create_task(daemon, context=context))

    async def play(self, actors: Sequence[Coroutine[Any, Any, Any]]) -> None:
        """Run the actors to their ends; the first error of an actor ends the run."""
        tasks = [asyncio.ensure_future(actor) for actor in actors]
        try:
            while True:
                await quiet()
                for task in tasks:
                    if task.done():
                        task.result()
                if all(task.done() for task in tasks):
                    return
                await self._give_turn()
        finally:
            for task in (*tasks, *self._daemons):
                task.cancel()
            await asyncio.wait([*tasks, *self._daemons])

    async def _give_turn(self) -> None:
        names, overdue, waiting = set(), math.inf, []
        for request in self._waiting:
            if not request.future.done():
                waiting.append(request)
                names.add(request.actor)
                overdue = min(overdue, request.gives_up_at)
        self._waiting = waiting
        until = self.time.until_next()
        can_wait = until is not None and self.time.clock() + until <= overdue
        chosen = self.choose(sorted(names), can_wait=can_wait) if names else TIME
        if chosen == TIME:
            self.taken.append((TIME, ""))
            assert until is not None, "everybody waits for nothing"
            await self.time.advance(until)
            return
        request = next(request for request in self._waiting if request.actor == chosen)
        self._waiting.remove(request)
        self.taken.append((chosen, request.operation))
        request.future.set_result(None)


class ActingBlobStorage(FaultyBlobStorage):
    """View of one actor on the store; each request waits for the actor's turn."""

    def __init__(self, inner: StagingStorage, stage: Stage, actor: str) -> None:
        super().__init__(inner)
        self._stage = stage
        self._actor = actor

    @override
    async def begin(self, operation: str, key: str) -> None:
        await self._stage.turn(self._actor, f"{operation} {key}")
        await super().begin(operation, key)

    @override
    async def carry_out(self, operation: str, key: str, call: Callable[[], Awaitable[T]]) -> T:
        await self._stage.turn(self._actor, f"{operation} {key}")
        return await super().carry_out(operation, key, call)


_READS: Final = {"read", "stat", "walk", "walk_within", "list_children", "list_marked", "open_reader", "staged_size"}


def commute(one: str, other: str) -> bool:
    """Return whether two requests, as `Stage.taken` has them, have the same effect in either order."""
    kind, *keys = one.split(" ")
    other_kind, *other_keys = other.split(" ")
    if kind in _READS and other_kind in _READS:
        return True
    if "move" in {kind, other_kind}:
        # Its text has no target.
        return False
    return not any(a.startswith(b) or b.startswith(a) for a in keys for b in other_keys)


class RandomChooser:
    """Chooser by a seed: sometimes uniformly, sometimes by priorities that change occasionally.

    In half of the runs, one actor stalls after some number of its requests, while others proceed and time passes. A
    uniform order rarely produces such runs, and they are the ones that break protocols.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._is_by_priority = self._random.random() < 0.6
        self._priorities: dict[str, float] = {}
        self._time_share = self._random.choice([0.0, 0.02, 0.1, 0.3])
        self._turns: dict[str, int] = {}
        self._stands_after = self._random.randrange(25) if self._random.random() < 0.5 else math.inf
        self._stands_for = self._random.choice([20, 60, 200, 500])
        self._victim: str | None = None

    def __call__(self, waiting: Sequence[str], *, can_wait: bool) -> str:
        chosen = self._choose(self._moving(waiting), can_wait=can_wait)
        if chosen != TIME:
            self._turns[chosen] = self._turns.get(chosen, 0) + 1
        return chosen

    def _moving(self, waiting: Sequence[str]) -> Sequence[str]:
        if self._victim is None:
            due = [actor for actor in waiting if self._turns.get(actor, 0) >= self._stands_after]
            self._victim = self._random.choice(due) if due else None
        if self._victim is None or self._stands_for == 0:
            return waiting
        self._stands_for -= 1
        return [actor for actor in waiting if actor != self._victim]

    def _choose(self, moving: Sequence[str], *, can_wait: bool) -> str:
        if not moving and self._victim is not None:
            return TIME if can_wait else self._victim
        if can_wait and self._random.random() < self._time_share:
            return TIME
        if not self._is_by_priority:
            return self._random.choice(moving)
        if self._random.random() < 0.05:
            self._priorities.clear()
        return max(moving, key=lambda actor: self._priorities.setdefault(actor, self._random.random()))


class PlannedChooser:
    """Chooser by a plan: one actor for a number of turns, then the next; after the plan, any waiting actor.

    Time passes only when the actor whose turn it is waits for time, or is done.
    """

    def __init__(self, plan: Sequence[tuple[str, int]]) -> None:
        self._plan = list(plan)
        self.ended_early: set[str] = set()
        """Actors that ended with turns left, in any part of the plan but the last."""

    def __call__(self, waiting: Sequence[str], *, can_wait: bool) -> str:
        while self._plan and self._plan[0][1] == 0:
            self._plan.pop(0)
        if not self._plan:
            return waiting[0]
        actor, turns = self._plan[0]
        if actor in waiting:
            self._plan[0] = (actor, turns - 1)
            return actor
        if can_wait and self._patience():
            return TIME
        if len(self._plan) > 1:
            self.ended_early.add(actor)
        self._plan.pop(0)
        return self(waiting, can_wait=can_wait)

    def _patience(self) -> bool:
        actor, turns = self._plan[0]
        # An actor that is done never waits again. Each wait uses up a turn, so that this ends.
        self._plan[0] = (actor, turns - 1)
        return turns > 0


async def broken_by_two_switches(
    play: Callable[[Chooser], Awaitable[tuple[Stage, Sequence[str]]]],
    first: str,
    second: str,
    *,
    starts: Iterable[int],
    lengths: Sequence[int],
) -> Sequence[str]:
    """Let one actor run so far, then another so far, then the first to its end; return the first broken promises.

    An order that differs from an earlier one only in requests that commute is not run.

    Args:
        play: plays one run, and returns its stage and the promises that it broke.
        first: actor that is interrupted.
        second: actor that interrupts it.
        starts: numbers of turns after which the first actor is interrupted, ascending, without a gap.
        lengths: numbers of turns of the second actor, ascending.
    """
    covered: dict[int, tuple[int, set[str]]] = {}
    for start in starts:
        ended_early: set[str] = set()
        for length in lengths:
            last_start, ended_early = covered.get(length, (-1, ended_early))
            if start > last_start:
                plan = [(first, start), (second, length), (first, 10_000)]
                chooser = PlannedChooser(plan)
                stage, broken = await play(chooser)
                if broken:
                    return [f"plan {plan}", *broken]
                ended_early = chooser.ended_early
                covered[length] = start + _swaps(stage.taken, first, second, start, length), ended_early
            if second in ended_early:
                # It goes no further, however long it may.
                break
        if first in ended_early:
            break
    return []


def _swaps(taken: Sequence[tuple[str, str]], first: str, second: str, start: int, length: int) -> int:
    """Return how many turns of `first` after those of `second` could as well come before them.

    The store is the same then, and so is all that both actors see. Not so for the last request of an actor: its promise
    is given and checked after it.
    """
    between, after = taken[start : start + length], taken[start + length :]
    if any(actor != second for actor, _ in between):
        return 0
    ours = sum(actor == first for actor, _ in after)
    swapped = itertools.takewhile(
        lambda turn: turn[0] == first and all(commute(turn[1], operation) for _, operation in between), after
    )
    return min(len(list(swapped)), max(ours - 1, 0))
