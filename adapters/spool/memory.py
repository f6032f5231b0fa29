"""Spool in memory, for tests: several spools on one `SpoolMemory` stand for the processes of one machine."""

import asyncio
from dataclasses import dataclass, field, replace

from typing_extensions import override

from core.errors import StorageFullError, StorageUnavailableError
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.ports.spool import FAILURE_MESSAGE_LENGTH_MAX, Spool, SpooledBlob, SpoolFailure, SpoolPhase, SpoolState


@dataclass(eq=False)
class _Growing:
    content: bytearray = field(default_factory=bytearray)
    state: SpoolState = field(default_factory=SpoolState)
    names: set[RepositoryName] = field(default_factory=set)
    leader: "_Handle | None" = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def change(self, state: SpoolState) -> None:
        self.state = state
        self.wake()

    def wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class SpoolMemory:
    """The spooled blobs of one simulated machine."""

    def __init__(self) -> None:
        self.blobs: dict[Digest, _Growing] = {}
        self.bytes_max: int | None = None
        """Size of the simulated disk in bytes; None for no limit."""


class InMemorySpool(Spool):
    """The spool of one process of a simulated machine."""

    def __init__(self, memory: SpoolMemory | None = None, *, handles_max: int = 512) -> None:
        self._memory = memory or SpoolMemory()
        self._handles: set[_Handle] = set()
        self._handles_max = handles_max

    @property
    def digests(self) -> set[Digest]:
        """The digests of the blobs in the spool."""
        return set(self._memory.blobs)

    @property
    @override
    def open_handles(self) -> int:
        return len(self._handles)

    def kill(self) -> None:
        """Stop leading with all handles, as the kernel does when a process is killed."""
        for handle in self._handles:
            handle.stop_leading()

    @override
    async def open(self, digest: Digest) -> SpooledBlob:
        if len(self._handles) >= self._handles_max:
            raise StorageUnavailableError("too many blobs are being fetched")
        handle = _Handle(self._memory, digest, self._handles)
        self._handles.add(handle)
        return handle

    @override
    async def sweep(self, *, unchanged_seconds: float) -> int:
        old = [digest for digest, each in self._memory.blobs.items() if each.leader is None]
        if unchanged_seconds:
            # Time stands still here.
            return 0
        for digest in old:
            del self._memory.blobs[digest]
        return len(old)


class _Handle(SpooledBlob):
    def __init__(self, memory: SpoolMemory, digest: Digest, handles: set["_Handle"]) -> None:
        self._memory = memory
        self._digest = digest
        self._handles = handles
        self._blob = memory.blobs.setdefault(digest, _Growing())

    @property
    @override
    def state(self) -> SpoolState:
        return self._blob.state

    @override
    async def lead(self) -> bool:
        if self._blob.leader not in {None, self}:
            return False
        self._blob.leader = self
        if self._blob.state.phase is SpoolPhase.FAILED:
            self._blob.change(replace(self._blob.state, phase=SpoolPhase.FILLING, failure=None))
        return True

    def stop_leading(self) -> None:
        if self._blob.leader is self:
            self._blob.leader = None
            self._blob.wake()

    @override
    async def release(self) -> None:
        self.stop_leading()

    @override
    async def begin(self, size: int) -> None:
        self._lead_on().change(replace(self.state, size=size))

    @override
    async def append(self, piece: bytes) -> None:
        blob = self._lead_on()
        limit = self._memory.bytes_max
        if limit is not None and sum(len(each.content) for each in self._memory.blobs.values()) + len(piece) > limit:
            raise StorageFullError("no space left in the spool")
        blob.content += piece
        blob.change(replace(blob.state, filled=len(blob.content)))

    @override
    async def is_removed(self) -> bool:
        return self._memory.blobs.get(self._digest) is not self._blob

    @override
    async def finish(self, phase: SpoolPhase) -> None:
        self._lead_on().change(replace(self.state, phase=phase, failure=None))

    @override
    async def fail(self, failure: SpoolFailure) -> None:
        kept = replace(failure, message=failure.message[:FAILURE_MESSAGE_LENGTH_MAX])
        self._lead_on().change(replace(self.state, phase=SpoolPhase.FAILED, failure=kept))

    @override
    async def read(self, offset: int, length: int) -> bytes:
        return bytes(self._blob.content[offset : offset + length])

    @override
    async def wait(self, seen: SpoolState) -> None:
        if self._blob.state == seen and self._blob.leader is not None:
            await self._blob.changed.wait()

    @override
    async def mark(self, name: RepositoryName) -> None:
        self._blob.names.add(name)

    @override
    async def is_marked(self, name: RepositoryName) -> bool:
        return name in self._blob.names

    @override
    async def remove(self) -> None:
        if not await self.is_removed():
            del self._memory.blobs[self._digest]

    @override
    def close(self) -> None:
        self.stop_leading()
        self._handles.discard(self)

    def _lead_on(self) -> _Growing:
        if self._blob.leader is not self:
            raise RuntimeError("another handle fills the blob")
        return self._blob
