"""A decorator that makes any descriptor cache observable."""

from typing import Protocol

from typing_extensions import override

from core.model.digest import Digest
from core.model.names import RepositoryName
from core.ports.descriptor_cache import DescriptorCache


class CacheObserver(Protocol):
    """Called for each lookup."""

    def __call__(self, *, hit: bool) -> None:
        """Record whether the lookup was a hit."""


class InstrumentedDescriptorCache(DescriptorCache):
    """Reports whether each lookup in `inner` was a hit.

    Args:
        inner: opened and closed with this cache.
        observe: called after each `get`.
    """

    def __init__(self, inner: DescriptorCache, *, observe: CacheObserver) -> None:
        self.name = inner.name
        self._inner = inner
        self._observe = observe

    @override
    async def start(self) -> None:
        await self._inner.start()

    @override
    async def stop(self) -> None:
        await self._inner.stop()

    @override
    async def get(self, name: RepositoryName, digest: Digest) -> int | None:
        size = await self._inner.get(name, digest)
        self._observe(hit=size is not None)
        return size

    @override
    async def put(self, name: RepositoryName, digest: Digest, size: int) -> None:
        await self._inner.put(name, digest, size)

    @override
    async def forget(self, name: RepositoryName, digest: Digest) -> None:
        await self._inner.forget(name, digest)

    @override
    async def forget_everywhere(self, digest: Digest) -> None:
        await self._inner.forget_everywhere(digest)
