"""The threads that hash: one body may use two of them, unless others need the processors."""

import asyncio
import threading

import pytest

from adapters.hashing.threads import HashingThreads


class Place:
    """Remembers which threads were here."""

    def __init__(self, threads):
        self._threads = threads
        self.seen = set()

    def visit(self):
        self.seen.add(threading.get_ident())

    def visit_beside(self):
        self.visit()
        self._threads.beside(self.visit)()


async def test_second_thread_works_beside_the_first():
    threads, may_end = HashingThreads(), threading.Event()

    def work():
        wait = threads.beside(may_end.wait, 60)
        # Not reached if the call had to end first.
        may_end.set()
        wait()

    for _ in range(3):
        may_end.clear()
        await asyncio.wait_for(threads(work), 30)
    place = Place(threads)
    await threads(place.visit_beside)
    assert len(place.seen) == 2


async def test_error_of_the_second_thread_is_raised_by_the_first():
    threads = HashingThreads()

    def fail():
        raise ValueError("injected")

    def work():
        threads.beside(fail)()

    with pytest.raises(ValueError, match="injected"):
        await threads(work)
    place = Place(threads)
    await threads(place.visit_beside)
    assert len(place.seen) == 2


async def test_second_thread_is_left_to_others_while_several_calls_are_under_way():
    threads, may_end = HashingThreads(), threading.Event()
    other, place = threads(may_end.wait, 60), Place(threads)
    await threads(place.visit_beside)
    assert len(place.seen) == 1
    may_end.set()
    await other
    # The end of a call is counted in the next turn of the event loop.
    await asyncio.sleep(0)
    later = Place(threads)
    await threads(later.visit_beside)
    assert len(later.seen) == 2


async def test_body_that_finds_the_second_thread_busy_does_without_it():
    threads, may_end, place = HashingThreads(), threading.Event(), Place(HashingThreads())
    wait = await threads(threads.beside, may_end.wait, 60)
    await threads(threads.beside, place.visit)
    # Nobody had to wait for this call.
    assert len(place.seen) == 1
    may_end.set()
    await threads(wait)


async def test_hashing_runs_beside_the_event_loop():
    threads = HashingThreads()
    assert await threads(threading.get_ident) != threading.get_ident()
