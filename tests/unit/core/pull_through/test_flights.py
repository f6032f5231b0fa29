"""One call for all tasks that want the same."""

import asyncio

import pytest

from core.errors import TooManyRequestsError, UpstreamUnavailableError
from core.pull_through.flights import Flights


async def test_concurrent_callers_share_a_call():
    flights: Flights[str, int] = Flights()
    calls = 0

    async def work() -> int:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        return calls

    async with asyncio.TaskGroup() as group:
        callers = [group.create_task(flights.run("a", work)) for _ in range(5)]
    assert [caller.result() for caller in callers] == [1] * 5
    assert await flights.run("a", work) == 2


async def test_call_goes_on_without_its_first_caller():
    flights: Flights[str, int] = Flights()
    go = asyncio.Event()

    async def work() -> int:
        await go.wait()
        return 7

    first = asyncio.create_task(flights.run("a", work))
    second = asyncio.create_task(flights.run("a", work))
    await asyncio.sleep(0)
    first.cancel()
    go.set()
    assert await second == 7
    assert first.cancelled()


async def test_error_reaches_all_callers_and_is_not_remembered():
    flights: Flights[str, int] = Flights()

    async def fail() -> int:
        raise UpstreamUnavailableError("down")

    async def succeed() -> int:
        return 1

    for _ in range(2):
        with pytest.raises(UpstreamUnavailableError):
            await flights.run("a", fail)
    assert await flights.run("a", succeed) == 1


async def test_end_of_the_process_cancels_the_calls():
    flights: Flights[str, int] = Flights()
    await flights.close()

    async def wait() -> int:
        await asyncio.Event().wait()
        return 0

    caller = asyncio.create_task(flights.run("a", wait))
    await asyncio.sleep(0)
    await flights.close()
    with pytest.raises(asyncio.CancelledError):
        await caller


async def test_number_of_calls_is_bounded():
    flights: Flights[str, int] = Flights(calls_max=1)
    go = asyncio.Event()

    async def work() -> int:
        await go.wait()
        return 7

    first = asyncio.create_task(flights.run("a", work))
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequestsError):
        await flights.run("b", work)
    second = asyncio.create_task(flights.run("a", work))
    await asyncio.sleep(0)
    go.set()
    assert (await first, await second, await flights.run("b", work)) == (7, 7, 7)
