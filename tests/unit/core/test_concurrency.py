import asyncio

import pytest

from core.concurrency import map_bounded


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
async def test_first_error_comes_as_it_is(count):
    async def fail(number):
        raise StoreError(number)

    with pytest.raises(StoreError):
        await map_bounded(fail, range(count))
