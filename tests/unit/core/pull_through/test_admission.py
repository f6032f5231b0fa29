"""Admission of fetched content to the cache."""

from core.pull_through.admission import Admission


async def test_cache_without_limits_admits_everything() -> None:
    assert await Admission().make_room(10**15)
