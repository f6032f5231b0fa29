"""The short memory of lists."""

from core.pull_through.listing_memory import ListingMemory
from tests.support.simulated_time import SimulatedTime


def test_list_is_fresh_for_its_time_and_kept_for_failures(time: SimulatedTime):
    memory: ListingMemory[str, list[int]] = ListingMemory(clock=time.clock, weight_max=10)
    assert (memory.fresh("a"), memory.last("a")) == (None, None)
    memory.put("a", [1], weight=1, seconds=5)
    assert memory.fresh("a") == [1]
    time.pass_seconds(5)
    assert (memory.fresh("a"), memory.last("a")) == (None, [1])


def test_weight_is_bounded(time: SimulatedTime):
    memory: ListingMemory[str, int] = ListingMemory(clock=time.clock, weight_max=10)
    for key, weight in (("a", 4), ("b", 4), ("a", 5), ("c", 3)):
        memory.put(key, weight, weight=weight, seconds=5)
    assert [memory.last(key) for key in "abc"] == [5, None, 3]
    memory.put("d", 11, weight=11, seconds=5)
    assert [memory.last(key) for key in "abcd"] == [None] * 4
