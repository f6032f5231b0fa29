import asyncio
import threading

import pytest

from core.concurrency import await_thread, map_bounded


class StoreError(Exception):
    pass


async def test_results_keep_their_order_and_the_bound():
    running = most = 0

    async def double(number):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return 2 * number

    assert await map_bounded(double, range(50), at_once=4) == [2 * number for number in range(50)]
    assert most == 4
    assert await map_bounded(double, []) == []


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("at_once", [1, 4])
async def test_first_error_is_raised_unchanged(count, at_once):
    async def fail(number):
        raise StoreError(number)

    with pytest.raises(StoreError):
        await map_bounded(fail, range(count), at_once=at_once)


async def test_calls_one_after_the_other_need_no_tasks():
    async def task_of(number):
        return number, asyncio.current_task()

    task = asyncio.current_task()
    assert await map_bounded(task_of, range(3), at_once=1) == [(0, task), (1, task), (2, task)]
    assert task not in [found for _, found in await map_bounded(task_of, range(3), at_once=2)]


async def run_cancelled(function, *, started, release):
    """Cancel the wait for a call in a thread twice; return whether the wait had ended before the thread did."""
    stopped = threading.Event()
    call = asyncio.get_running_loop().run_in_executor(None, function)
    waiting = asyncio.create_task(await_thread(call, stop=stopped.set))
    await asyncio.to_thread(started.wait, 60)
    for _ in range(2):
        waiting.cancel()
        await asyncio.sleep(0.02)
    was_done = waiting.done()
    assert stopped.is_set()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(waiting, 60)
    return was_done


@pytest.mark.parametrize("fails", [False, True])
async def test_cancelled_caller_waits_for_its_thread(fails):
    started, release, has_ended = threading.Event(), threading.Event(), threading.Event()

    def work():
        started.set()
        assert release.wait(10)
        has_ended.set()
        if fails:
            raise ValueError("the caller does not see this error")

    assert not await run_cancelled(work, started=started, release=release)
    assert has_ended.is_set()


async def test_cancelled_call_ends_the_wait():
    call = asyncio.get_running_loop().create_future()

    def stop() -> None:
        call.cancel()

    waiting = asyncio.create_task(await_thread(call, stop=stop))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(waiting, 60)


async def test_result_and_error_reach_the_caller():
    def fail():
        raise ValueError("seen")

    loop = asyncio.get_running_loop()
    await await_thread(loop.run_in_executor(None, lambda: None))
    with pytest.raises(ValueError, match="seen"):
        await await_thread(loop.run_in_executor(None, fail))
