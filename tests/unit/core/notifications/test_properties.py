"""Whatever dies or fails: every recorded event arrives, and those of a repository first arrive in their order."""

import asyncio
import itertools
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.errors import StorageUnavailableError
from core.notifications.endpoint import EventEndpoint
from core.notifications.recorder import RecorderOptions
from core.notifications.upkeep import Bounds
from tests.support.faulty_blob_storage import FaultyBlobStorage
from tests.support.notifications import ScriptedReceiver
from tests.support.simulated_time import SimulatedTime
from tests.unit.core.notifications.test_notifier import Process

# No script lasts long enough for an event to be given up.
BOUNDS = Bounds(bytes_max=10**9, age_max=timedelta(hours=2), dead_age_max=timedelta(days=30))
PROCESSES = 3
REPOSITORIES = ("a", "b", "c")

steps = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, PROCESSES - 1), st.sampled_from(REPOSITORIES)),
        st.tuples(st.just("kill"), st.integers(0, PROCESSES - 1)),
        st.tuples(st.just("wait"), st.sampled_from([0.0, 0.3, 3.0, 40.0])),
        st.tuples(st.just("answer"), st.sampled_from([200, 500, 503, "no answer"])),
        st.tuples(st.just("storage"), st.integers(0, PROCESSES - 1), st.integers(1, 6)),
    ),
    min_size=5,
    max_size=40,
)


class World:
    """Processes on one storage, each of which can be killed, cut off from the storage for a moment, and replaced."""

    def __init__(self):
        self.time = SimulatedTime()
        self.storage = InMemoryBlobStorage(now=self.time.now)
        self.receiver = ScriptedReceiver()
        self.ids = itertools.count(1)
        self.names = itertools.count()
        self.acknowledged: dict[str, list[str]] = {repository: [] for repository in REPOSITORIES}
        self.processes = [self.begin() for _ in range(PROCESSES)]

    def begin(self):
        faulty = FaultyBlobStorage(self.storage)
        process = Process(faulty, self.time, f"p{next(self.names)}", self.ids, bounds=BOUNDS)
        endpoint = EventEndpoint(name="e", receiver=self.receiver, threshold=3, backoff_seconds=1.0)
        process.notifier.use([endpoint], RecorderOptions())
        task = asyncio.create_task(self.run(process))
        return process, faulty, task

    async def run(self, process):
        # As the job of a server does.
        while True:
            try:
                await process.notifier.run()
            except StorageUnavailableError:
                await self.time.sleep(1.0)

    async def push(self, number, repository):
        process, _, _ = self.processes[number]
        # A request takes longer than the clock takes to tick.
        await self.time.advance(0.001)
        before = next(self.ids)
        try:
            await process.push(repository)
        except StorageUnavailableError:
            return
        # Its id is the one after, since no other push runs at the same time.
        self.acknowledged[repository].append(str(before + 1))

    async def kill(self, number):
        _, faulty, task = self.processes[number]
        # Its last requests no longer reach the storage: the lease stays behind.
        faulty.stop_after(0)
        task.cancel()
        await asyncio.wait([task])
        self.processes[number] = self.begin()

    async def step(self, kind, *arguments):
        if kind == "push":
            await self.push(*arguments)
        elif kind == "kill":
            await self.kill(*arguments)
        elif kind == "wait":
            await self.time.advance(*arguments)
        elif kind == "answer":
            [answer] = arguments
            self.receiver.answer = lambda _event: answer
        else:
            number, operation = arguments
            self.processes[number][1].fail_at(operation)

    async def heal(self):
        self.receiver.answer = lambda _event: 200
        for _, faulty, _ in self.processes:
            faulty.heal()
        await self.time.advance(90)

    async def close(self):
        for _, _, task in self.processes:
            task.cancel()
        await asyncio.wait([task for _, _, task in self.processes])


async def live(script):
    world = World()
    try:
        for step in script:
            await world.step(*step)
        await world.heal()
        for repository, acknowledged in world.acknowledged.items():
            firsts = list(dict.fromkeys(world.receiver.taken_ids(repository)))
            assert [each for each in firsts if each in acknowledged] == acknowledged
        left = [key async for key, _ in world.storage.walk("/") if "_notifications" in key]
        assert left == []
    finally:
        await world.close()


@settings(max_examples=40, deadline=None)
@given(steps)
def test_every_acknowledged_event_arrives_in_its_order(script):
    asyncio.run(live(script))
