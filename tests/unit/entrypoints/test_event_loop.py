"""The server's event loop: it asks the kernel seldom while calls wait, and often enough for all connections."""

import asyncio
import selectors
import signal
import socket

import pytest

from entrypoints.process.event_loop import TURNS_MAX, run_patiently


@pytest.fixture
def questions(monkeypatch):
    """The timeouts of the questions to the kernel."""
    timeouts: list[float | None] = []
    select = selectors.EpollSelector.select

    def note(selector, timeout=None):
        timeouts.append(timeout)
        return select(selector, timeout)

    monkeypatch.setattr(selectors.EpollSelector, "select", note)
    return timeouts


async def spin(turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


def test_busy_loop_asks_seldom(questions):
    run_patiently(spin(100 * (TURNS_MAX + 1)))
    assert 100 <= questions.count(0) <= 105


def test_idle_loop_waits_for_events(questions):
    async def main() -> None:
        await asyncio.sleep(0.01)

    run_patiently(main())
    assert any(timeout and timeout > 0 for timeout in questions)


def test_busy_loop_serves_other_connections():
    async def main() -> int:
        one, other = socket.socketpair()
        arrived = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(one, arrived.set)
        other.send(b"x")
        turns = 0
        while not arrived.is_set():
            await asyncio.sleep(0)
            turns += 1
        loop.remove_reader(one)
        one.close()
        other.close()
        return turns

    assert run_patiently(main()) <= TURNS_MAX + 2


def test_busy_loop_heeds_threads_timers_and_signals():
    async def main() -> None:
        loop = asyncio.get_running_loop()
        timer, signalled = asyncio.Event(), asyncio.Event()
        loop.call_later(0.001, timer.set)
        loop.add_signal_handler(signal.SIGUSR2, signalled.set)
        busy = asyncio.create_task(spin(10**9))
        signal.raise_signal(signal.SIGUSR2)
        assert await asyncio.to_thread(lambda: 1) == 1
        await timer.wait()
        await signalled.wait()
        loop.remove_signal_handler(signal.SIGUSR2)
        busy.cancel()

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await main()

    run_patiently(bounded())
