"""What this process proved itself, beside what others say."""

from types import TracebackType
from typing import Self

from typing_extensions import override

from core.digest import Digest
from core.names import RepositoryName
from core.ports.descriptor_cache import DescriptorCache


class SharedDescriptorCache(DescriptorCache):
    """A cache of this process and one that processes share; both are told everything.

    Args:
        own: what this process proved, and garbage collection spoke to it about.
        shared: what anybody said at some time, and nobody took back.
        believes_others: whether `get` tells what either of them knows. Only for answers that need not be true: a blob
            that is then not there when it is read. Never for "you need not send it", after which it would be missing
            for good: that takes both of them to know it, so what one process takes back no other one tells any more.
    """

    def __init__(self, own: DescriptorCache, shared: DescriptorCache, *, believes_others: bool) -> None:
        self.name = shared.name
        self._own = own
        self._shared = shared
        self._believes_others = believes_others

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
        if (size is None) is self._believes_others:
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
