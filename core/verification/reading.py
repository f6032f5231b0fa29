"""Hashing of stored data within a budget."""

from dataclasses import dataclass

from core.content_source import Offload
from core.coordination.budget import Budget
from core.coordination.paced_store import PacedStore
from core.errors import ObjectNotFoundError, StorageUnavailableError
from core.model.digest import Digest, HasherFactory
from core.ports.blob_storage import BlobStorage
from core.store.hashing import feed
from core.typing import override


@dataclass(frozen=True, slots=True)
class DataState:
    """Size and digest of the bytes at a key. The digest is None if the store cannot read them all."""

    size: int
    digest: Digest | None

    @override
    def __str__(self) -> str:
        if self.digest is None:
            return f"cannot be read beyond {self.size} bytes"
        return f"{self.size} bytes that hash to {self.digest}"


class StoreReader(PacedStore):
    """Reads and hashes a store within a budget. One per verification, safe for any number of tasks."""

    def __init__(
        self,
        storage: BlobStorage,
        budget: Budget,
        *,
        new_hasher: HasherFactory,
        offload: Offload,
    ) -> None:
        super().__init__(storage, budget)
        self._new_hasher = new_hasher
        self._offload = offload

    async def data(self, key: str, algorithm: str) -> DataState | None:
        """Read and hash a whole object; return None if there is none. One request.

        If the object cannot be read to its end although the store responds (a bad sector), the result has no digest.

        Raises:
            StorageUnavailableError: the store does not respond.
        """
        hasher = self._new_hasher(algorithm, None)
        size = 0
        await self.budget.take()
        try:
            async with self.storage.open_reader(key) as reader:
                async for piece in reader:
                    await self.budget.take(requests=0, size=len(piece))
                    size += len(piece)
                    await feed(hasher, piece, self._offload)
        except ObjectNotFoundError:
            return None
        except StorageUnavailableError:
            await self.storage.check()
            # Reading also fails this way if the object is removed during the read.
            return None if await self.size(key) is None else DataState(size=size, digest=None)
        return DataState(size=size, digest=hasher.digest())
