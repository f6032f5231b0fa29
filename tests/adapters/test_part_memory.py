"""The memory of uploads: a bound over all of them, turns, and no upload that waits for ever."""

import asyncio
import copy
import random

import pytest

from adapters.blob_storage.s3.blocks import BLOCK_BYTES, BlockPool, PartBuffer
from adapters.blob_storage.s3.options import MIB, S3Options
from adapters.blob_storage.s3.part_memory import IDLE_SECONDS, SMALL_BYTES_MAX, PartMemory
from adapters.blob_storage.s3.shared_use import SharedUse
from tests.support.streams import payload

PART = 5 * MIB


class Clock:
    """Time that the test sets."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


class IdleUpload:
    """An upload whose client sends nothing more."""

    def __init__(self, memory, buffer):
        self.memory = memory
        self.buffer = buffer
        self.touched_at = memory.now()
        memory.join(self)

    def relieve(self):
        self.memory.trim(self.buffer)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def memory(clock):
    return PartMemory(PART, 2 * PART, shared=SharedUse(), clock=clock)


async def grown(memory, size, *, is_last=False, buffer=None):
    buffer = buffer or memory.buffer()
    await memory.grow(buffer, size, is_last=is_last)
    return buffer


async def started(*calls):
    """Return tasks that have run until they wait."""
    tasks = [asyncio.create_task(call) for call in calls]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


def test_buffer_holds_bytes_up_to_its_capacity():
    pool = BlockPool()
    content = payload(PART + 1_000)
    buffer = PartBuffer(pool, PART)
    rest = memoryview(content)
    for size in (1, BLOCK_BYTES - 1, BLOCK_BYTES // 2, 3):
        assert not buffer.hold(rest[:size])
        rest = rest[size:]
    assert buffer.size == BLOCK_BYTES * 3 // 2 + 3
    # Only the pages of a first block count that hold bytes.
    assert buffer.footprint == 2 * BLOCK_BYTES
    assert len(buffer.hold(rest)) == 1_000
    assert buffer.is_full
    assert b"".join(buffer.views()) == content[:PART]
    assert len(buffer.hold(memoryview(b"more"))) == 4


def test_blocks_are_used_again_only_after_they_were_given_back():
    pool = BlockPool()
    first = PartBuffer(pool, PART)
    first.hold(memoryview(b"a" * 100))
    sent = first.views()
    # A cancelled request may still send these bytes.
    first.drop(is_unused=False)
    second = PartBuffer(pool, PART)
    second.hold(memoryview(b"b" * 100))
    assert bytes(sent[0]) == b"a" * 100
    second.drop(is_unused=True)
    kept = pool.take(is_filled=True)
    assert kept[:100] == b"b" * 100
    pool.give([kept])
    pool.shrink(0)
    assert pool.take(is_filled=True)[:100] == bytes(100)


async def test_uploads_get_parts_in_turn(memory):
    first, second = [await grown(memory, 2 * MIB) for _ in range(2)]
    assert memory.used == 2 * PART
    third, fourth = await started(grown(memory, 2 * MIB), grown(memory, 2 * MIB))
    assert not third.done()
    memory.close(first)
    buffer = await third
    assert not fourth.done()
    memory.close(second)
    memory.close(await fourth)
    memory.close(buffer)
    memory.close(buffer)
    assert (memory.used, memory.used_max) == (0, 2 * PART)


async def test_small_uploads_take_what_they_need(memory):
    buffers = [await grown(memory, SMALL_BYTES_MAX) for _ in range(10)]
    assert memory.used == 10 * SMALL_BYTES_MAX
    for buffer in buffers:
        memory.close(buffer)


async def test_upload_of_known_size_takes_no_more(memory):
    buffers = [await grown(memory, 2 * MIB, is_last=True) for _ in range(5)]
    assert memory.used == 10 * MIB
    assert not memory.try_grow(memory.buffer(), 1, is_last=True)
    for buffer in buffers:
        memory.close(buffer)


async def test_small_upload_does_not_wait_behind_large_ones(memory):
    held = [await grown(memory, 2 * MIB) for _ in range(2)]
    large, small = await started(grown(memory, 2 * MIB), grown(memory, 1_000))
    memory.close(held[0])
    await small
    assert not large.done()
    memory.close(await small)
    await large


async def test_cancelled_upload_lets_the_next_one_in(memory):
    held = [await grown(memory, 2 * MIB), await grown(memory, 4 * MIB, is_last=True)]
    large, small = await started(grown(memory, 2 * MIB), grown(memory, MIB, is_last=True))
    assert small.done()
    large.cancel()
    with pytest.raises(asyncio.CancelledError):
        await large
    for buffer in (*held, small.result()):
        memory.close(buffer)
    assert memory.used == 0


async def test_idle_upload_gives_back_what_it_does_not_use(memory, clock):
    """A client that sends a few bytes of each part takes the memory of these bytes only."""
    buffers = [await grown(memory, 2 * MIB) for _ in range(2)]
    for buffer in buffers:
        buffer.hold(memoryview(bytes(MIB)))
    uploads = [IdleUpload(memory, buffer) for buffer in buffers]
    [other] = await started(grown(memory, 2 * MIB))
    clock.seconds = IDLE_SECONDS + 1
    memory.close(await other)
    assert memory.used == 2 * MIB
    # Its client goes on.
    await grown(memory, 2 * MIB, buffer=buffers[0])
    assert buffers[0].charge == PART
    for upload, buffer in zip(uploads, buffers, strict=True):
        memory.leave(upload)
        memory.close(buffer)


async def test_upload_whose_client_sends_keeps_its_part(memory, clock):
    buffers = [await grown(memory, 2 * MIB) for _ in range(2)]
    uploads = [IdleUpload(memory, buffer) for buffer in buffers]
    clock.seconds = IDLE_SECONDS + 1
    uploads[1].touched_at = clock.seconds
    first, second = await started(grown(memory, 2 * MIB), grown(memory, 2 * MIB))
    memory.close(await first)
    memory.close(await second)
    assert [buffer.charge for buffer in buffers] == [0, PART]


async def test_beginnings_of_parts_that_fill_the_memory_are_completed(memory):
    """None of them could go on; the largest may, and frees its part."""
    buffers = [await grown(memory, MIB) for _ in range(10)]
    for buffer in buffers:
        buffer.hold(memoryview(bytes(MIB)))

    async def complete(buffer):
        await grown(memory, PART, buffer=buffer)
        await asyncio.sleep(0.001)
        memory.close(buffer)

    async with asyncio.TaskGroup() as group:
        for buffer in buffers:
            group.create_task(complete(buffer))
    assert memory.used == 0
    assert memory.used_max <= 3 * PART


async def test_process_takes_what_others_leave_and_its_share_in_any_case(clock):
    shared = SharedUse()
    shared.enter(0, 2)
    ours = PartMemory(PART, 4 * PART, shared=shared, clock=clock)
    beside = copy.copy(shared)
    beside.enter(1, 2)
    theirs = PartMemory(PART, 4 * PART, shared=beside, clock=clock)
    held = [await grown(ours, 2 * MIB) for _ in range(4)]
    assert not ours.try_grow(ours.buffer(), 2 * MIB, is_last=False)
    others = [await grown(theirs, 2 * MIB) for _ in range(2)]
    assert not theirs.try_grow(theirs.buffer(), 2 * MIB, is_last=False)
    ours.close(held[0])
    [waiting] = await started(grown(ours, 2 * MIB))
    assert not waiting.done()
    for buffer in others:
        theirs.close(buffer)
    # Nobody tells this process: it looks.
    await waiting


def test_killed_process_leaves_nothing_to_its_successor(clock):
    shared = SharedUse()
    shared.enter(3, 8)
    shared.publish(100)
    successor = copy.copy(shared)
    successor.enter(3, 8)
    assert successor.others() == 0
    neighbour = copy.copy(shared)
    neighbour.enter(4, 8)
    assert neighbour.others() == 0


def test_default_limit_is_two_parts_for_each_process_and_one_upload_at_least():
    options = S3Options(bucket="b", region="r")
    assert [options.upload_memory_max(processes) for processes in (1, 2, 8)] == [40 * MIB, 40 * MIB, 160 * MIB]
    assert S3Options(bucket="b", region="r", upload_memory_bytes=1).upload_memory_max(8) == 1


@pytest.mark.parametrize("seed", range(20))
async def test_any_mixture_of_uploads_ends_within_the_bound(clock, seed):
    """Fast ones, slow ones that send a byte and pause, small ones, and ones that break off."""
    chance = random.Random(seed)
    parts = chance.randint(1, 4)
    memory = PartMemory(PART, parts * PART, shared=SharedUse(), clock=clock)

    class Upload(IdleUpload):
        def __init__(self):
            super().__init__(memory, memory.buffer())

        async def run(self):
            left = chance.choice([500, SMALL_BYTES_MAX, PART - 1, 2 * PART + 7])
            while left:
                piece = min(left, chance.choice([1, 100_000, MIB]))
                is_last = chance.random() < 0.5
                await memory.grow(self.buffer, self.buffer.size + piece, is_last=is_last)
                self.touched_at = clock()
                piece = min(piece, self.buffer.capacity - self.buffer.size)
                self.buffer.hold(memoryview(bytes(piece)))
                left -= piece
                clock.seconds += chance.choice([0, 0, 0.01, IDLE_SECONDS])
                await asyncio.sleep(0)
                if self.buffer.is_full or chance.random() < 0.01:
                    memory.close(self.buffer, is_unused=True)
                    self.buffer = memory.buffer()
            memory.leave(self)
            memory.close(self.buffer, is_unused=True)

    async with asyncio.TaskGroup() as group:
        for _ in range(30):
            group.create_task(Upload().run())
    assert memory.used == 0
    assert memory.used_max <= (parts + 1) * PART
