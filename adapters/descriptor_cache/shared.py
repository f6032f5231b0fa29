"""Combination of this process's own cache with a shared one."""

from types import TracebackType
from typing import Self

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
    async def __aenter__(self) -> Self:
        await self._own.__aenter__()
        await self._shared.__aenter__()
        return self

    @override
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._shared.__aexit__(kind, error, trace)
        await self._own.__aexit__(kind, error, trace)

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
