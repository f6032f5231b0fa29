"""Fetches under random events: whatever happens, no complete response and no stored blob has a wrong byte."""

import asyncio
import random
from contextlib import AsyncExitStack

import pytest

from core.errors import RegistryError, StorageError, UpstreamBusyError, UpstreamTimeoutError, UpstreamUnavailableError
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.store import layout
from tests.support.core_services import in_turn
from tests.support.pull_through import CachingProcess, Machine
from tests.support.quiet import quiet
from tests.support.streams import payload

PIECE = 64 * 1024
CONTENT = payload(4 * PIECE + 77)
WRONG = CONTENT[:-1] + b"?"
DIGEST = Digest.of(CONTENT)
NAMES = [RepositoryName("docker.io/library/alpine"), RepositoryName("docker.io/grafana/grafana")]
ABSENT = RepositoryName("docker.io/library/busybox")
STEPS = 40


class Run:
    """One run; the seed determines its events."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.machine = Machine()
        self.free = asyncio.Semaphore(0)
        self.clients: list[asyncio.Task[None]] = []
        self.processes: list[tuple[CachingProcess, AsyncExitStack]] = []
        self.completed = 0
        hub = self.machine.hub
        hub.gate = self.free.acquire
        for name in ("library/alpine", "grafana/grafana"):
            hub.add_blob(name, CONTENT)

    async def start_process(self) -> None:
        stack = AsyncExitStack()
        self.processes.append((await stack.enter_async_context(self.machine.process(offload=in_turn)), stack))

    async def end_process(self) -> None:
        if len(self.processes) > 1:
            _, stack = self.processes.pop(self.random.randrange(len(self.processes)))
            await stack.aclose()

    async def start_client(self) -> None:
        process, _ = self.random.choice(self.processes)
        offset = self.random.choice([0, 0, self.random.randrange(len(CONTENT))])
        length = self.random.choice([None, self.random.randrange(1, len(CONTENT))])
        self.clients.append(asyncio.create_task(self._pull(process, self.random.choice(NAMES), offset, length)))

    async def _pull(self, process: CachingProcess, name: RepositoryName, offset: int, length: int | None) -> None:
        received, wanted = b"", CONTENT[offset : None if length is None else offset + length]
        try:
            async with process.blobs.open(name, DIGEST, offset=offset, length=length) as reader:
                async for piece in reader:
                    received += piece
                    if self.random.random() < 0.2:
                        await asyncio.sleep(0)
        except (StorageError, RegistryError):
            assert len(received) < len(wanted)
        else:
            assert received == wanted
            self.completed += 1

    async def probe(self) -> None:
        process, _ = self.random.choice(self.processes)
        with pytest.raises((StorageError, RegistryError)):
            await process.read(ABSENT, DIGEST)

    async def end_client(self) -> None:
        if self.clients:
            self.random.choice(self.clients).cancel()

    async def pass_pieces(self) -> None:
        for _ in range(self.random.randrange(1, 4)):
            self.free.release()

    async def pass_time(self) -> None:
        await self.machine.time.advance(self.random.choice([0.3, 10]))

    async def break_connection(self) -> None:
        self.machine.hub.breaks_after = self.random.randrange(len(CONTENT))
        self.machine.hub.failure_of_blob = self.random.choice(
            [UpstreamTimeoutError("slow"), UpstreamUnavailableError("broken"), UpstreamBusyError("wait", retry_after=1)]
        )

    async def change_content(self) -> None:
        self.machine.hub.replace_blob("library/alpine", DIGEST, self.random.choice([CONTENT, WRONG, CONTENT[:9]]))

    async def toggle_outage(self) -> None:
        hub = self.machine.hub
        hub.failure = None if hub.failure else UpstreamTimeoutError("slow")

    async def evict(self) -> None:
        storage = self.machine.services.storage
        await storage.delete([layout.layer_link(name, DIGEST) for name in NAMES])
        await storage.delete([layout.blob_data(DIGEST)])

    async def play(self) -> None:
        await self.start_process()
        events = [self.start_client] * 4 + [self.pass_pieces] * 4 + [self.pass_time] * 2
        events += [self.start_process, self.end_process, self.end_client, self.break_connection]
        events += [self.change_content, self.toggle_outage, self.evict]
        for _ in range(STEPS):
            await self.random.choice(events)()
            if self.random.random() < 0.7:
                await quiet()
            await self.check_store()
        await self.recover()

    async def check_store(self) -> None:
        keys = await self.machine.services.keys(layout.BLOBS)
        if keys:
            assert await self.machine.services.storage.read(layout.blob_data(DIGEST)) == CONTENT

    async def recover(self) -> None:
        """The upstream works again: every client that is left ends, and new ones get the blob."""
        hub = self.machine.hub
        hub.failure = hub.breaks_after = hub.gate = None
        hub.replace_blob("library/alpine", DIGEST, CONTENT)
        for _ in range(1000):
            self.free.release()
        await self.machine.time.advance(100)
        await asyncio.wait(self.clients)
        for client in self.clients:
            if not client.cancelled():
                client.result()
        hub.breaks_after = None
        await self.machine.time.advance(100)
        for process, _ in self.processes:
            for name in NAMES:
                # A fetch that ended with the outage may fail one more client.
                assert await process.read(name, DIGEST) == CONTENT
        await self.probe()
        await quiet()
        assert self.machine.memory.blobs == {}
        for process, stack in self.processes:
            assert (process.fetcher.in_flight, process.spool.open_handles) == (0, 0)
            await stack.aclose()


@pytest.mark.parametrize("seed", range(60))
async def test_random_events_never_give_wrong_bytes(seed):
    run = Run(seed)
    async with run.machine.services.storage:
        await run.play()
