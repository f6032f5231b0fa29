"""A job keeps to its rates, on a clock of the test's own."""

from contextlib import aclosing

import pytest

from core.coordination.budget import Budget, Rates, TokenBucket


class Time:
    """A clock that only sleeping moves."""

    def __init__(self):
        self.now = 100.0
        self.slept = []

    def clock(self):
        return self.now

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def time():
    return Time()


def budget(time, **rates):
    return Budget(Rates(**rates), clock=time.clock, sleep=time.sleep)


async def test_without_rates_no_call_waits(time):
    free = budget(time)
    for _ in range(1000):
        await free.take(size=10**9)
    assert time.slept == []


async def test_requests_keep_to_their_rate(time):
    slow = budget(time, requests_per_second=10)
    for _ in range(110):
        await slow.take()
    assert time.now - 100 == pytest.approx(10.0)


async def test_first_second_is_free(time):
    slow = budget(time, requests_per_second=10)
    for _ in range(10):
        await slow.take()
    assert time.slept == []


async def test_bytes_keep_to_their_rate(time):
    slow = budget(time, bytes_per_second=1000)
    await slow.take(size=1000)
    await slow.take(size=500)
    assert time.slept == [pytest.approx(0.5)]


async def test_piece_larger_than_the_bucket_passes(time):
    slow = budget(time, bytes_per_second=1000)
    await slow.take(size=5000)
    await slow.take(size=0)
    assert time.slept == [pytest.approx(4.0)]


async def test_slower_of_the_two_rates_decides(time):
    slow = budget(time, requests_per_second=1, bytes_per_second=1000)
    await slow.take(requests=3, size=1500)
    assert time.slept == [pytest.approx(2.0)]


async def test_idle_time_is_saved_for_one_second_only(time):
    slow = budget(time, requests_per_second=10)
    time.now += 3600
    await slow.take(requests=20)
    assert time.slept == [pytest.approx(1.0)]


async def test_waiting_callers_are_served_in_order(time):
    waits = []

    async def note(seconds):
        waits.append(seconds)

    slow = Budget(Rates(requests_per_second=1), clock=time.clock, sleep=note)
    for _ in range(4):
        await slow.take()
    assert waits == [pytest.approx(seconds) for seconds in (1.0, 2.0, 3.0)]


@pytest.mark.parametrize(("count", "requests"), [(0, 1), (1, 1), (1000, 1), (1001, 2), (2500, 3)])
async def test_listing_costs_a_request_for_each_thousand_items(time, count, requests):
    async def items():
        for number in range(count):
            yield number

    slow = budget(time, requests_per_second=1)
    await slow.take()
    assert [item async for item in slow.pace(items())] == list(range(count))
    assert time.now - 100.0 == pytest.approx(requests)


async def test_listing_that_is_abandoned_is_closed(time):
    ends = []

    async def items():
        try:
            yield 1
            yield 2
        finally:
            ends.append("closed")

    async with aclosing(budget(time).pace(items())) as paced:
        assert await anext(paced) == 1
    assert ends == ["closed"]


def test_bucket_gives_nothing_to_a_caller_that_does_not_borrow():
    bucket = TokenBucket(rate=2, burst=1, now=0)
    assert bucket.take(1, 0) == 0
    assert [bucket.take(1, 0), bucket.take(1, 0)] == [0.5, 0.5]
    assert [bucket.take(1, 0, borrows=True), bucket.take(1, 0)] == [0.5, 1.0]
    assert bucket.take(1, 1) == 0
