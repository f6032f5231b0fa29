"""Combination of this process's own cache with a shared one."""

from typing_extensions import override

from core.model.digest import Digest
from core.model.names import RepositoryName
from core.ports.descriptor_cache import DescriptorCache


class SharedDescriptorCache(DescriptorCache):
    """Combines a cache of this process with a shared one; every change goes to both.

    Args:
        own: entries that this process itself verified, and that garbage collection can invalidate in it.
        shared: entries of all processes.
        trusts_one_hit: whether a hit in one cache is enough for `get`, instead of a hit in both. True only for answers
            that may be wrong, such as a blob that turns out to be missing when it is read. Never for an answer that
            makes a client skip an upload, after which the blob would be missing for good: with False, an entry that one
            process has deleted is a miss in all of them.
    """

    def __init__(self, own: DescriptorCache, shared: DescriptorCache, *, trusts_one_hit: bool) -> None:
        self.name = shared.name
        self._own = own
        self._shared = shared
        self._trusts_one_hit = trusts_one_hit

    @override
    async def start(self) -> None:
        await self._own.start()
        await self._shared.start()

    @override
    async def stop(self) -> None:
        await self._shared.stop()
        await self._own.stop()

    @override
    async def get(self, name: RepositoryName, digest: Digest) -> int | None:
        size = await self._own.get(name, digest)
        if (size is None) is self._trusts_one_hit:
            size = await self._shared.get(name, digest)
        return size

    @override
    async def put(self, name: RepositoryName, digest: Digest, size: int) -> None:
        await self._own.put(name, digest, size)
        await self._shared.put(name, digest, size)

    @override
    async def forget(self, name: RepositoryName, digest: Digest) -> None:
        await self._own.forget(name, digest)
        await self._shared.forget(name, digest)

    @override
    async def forget_everywhere(self, digest: Digest) -> None:
        await self._own.forget_everywhere(digest)
        await self._shared.forget_everywhere(digest)
