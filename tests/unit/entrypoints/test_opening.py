"""Opening and closing of an application: its order, and what happens when a part fails."""

from dataclasses import replace

import pytest
from typing_extensions import override

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.catalog_index.memory import InMemoryCatalogIndex
from adapters.descriptor_cache.memory import DisabledDescriptorCache
from config.container import RegistryApplication, build_registry, utc_now
from config.settings import Settings
from core.errors import StorageUnavailableError
from core.store import layout
from entrypoints.opening import opened


class Part:
    """Records when it opens and closes; fails on request."""

    def __init__(self, name, seen, fails=""):
        self.part, self.seen, self.fails = name, seen, fails
        super().__init__()

    async def __aenter__(self):
        self.seen.append(f"open {self.part}")
        if self.fails == "open":
            raise StorageUnavailableError(self.part)
        return self

    async def __aexit__(self, *_error):
        self.seen.append(f"close {self.part}")
        if self.fails == "close":
            raise StorageUnavailableError(self.part)


class Storage(Part, InMemoryBlobStorage):
    @override
    def __init__(self, seen):
        InMemoryBlobStorage.__init__(self, now=utc_now)
        self.part, self.seen, self.fails = "storage", seen, ""


class Index(Part, InMemoryCatalogIndex):
    """An index that records."""


class Cache(Part, DisabledDescriptorCache):
    """A cache that records."""


def application(seen, *, index="", cache="") -> RegistryApplication:
    return replace(
        build_registry(Settings()),
        storage=Storage(seen),
        catalog_index=Index("index", seen, index),
        descriptor_cache=Cache("cache", seen, cache),
    )


async def test_parts_close_in_reverse_order():
    seen: list[str] = []
    async with opened(application(seen)):
        seen.append("work")
    assert seen == ["open storage", "open index", "open cache", "work", "close cache", "close index", "close storage"]


async def test_part_that_cannot_be_opened_closes_the_open_ones():
    seen: list[str] = []
    with pytest.raises(StorageUnavailableError, match="index"):
        async with opened(application(seen, index="open")):
            seen.append("work")
    assert seen == ["open storage", "open index", "close storage"]


async def test_part_that_cannot_be_closed_does_not_keep_the_others_open():
    seen: list[str] = []
    with pytest.raises(StorageUnavailableError, match="cache"):
        async with opened(application(seen, cache="close")):
            seen.append("work")
    assert seen[-3:] == ["close cache", "close index", "close storage"]


async def test_only_some_parts_can_be_opened():
    seen: list[str] = []
    registry = application(seen)
    async with opened(registry, only=registry.storage_and_catalog):
        seen.append("work")
    assert seen == ["open storage", "open index", "work", "close index", "close storage"]


async def test_empty_storage_is_refused_before_the_index_opens():
    seen: list[str] = []
    registry = application(seen)
    with pytest.raises(StorageUnavailableError, match="there is no registry"):
        async with opened(registry, requires_content=True):
            seen.append("work")
    assert seen == ["open storage", "close storage"]
    await registry.storage.write(f"{layout.ROOT}/repositories/a/object", b"")
    async with opened(registry, requires_content=True):
        seen.append("work")
    assert "work" in seen
