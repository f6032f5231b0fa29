"""Blob storage that counts requests as an object store bills them: one per operation, and one per 1,000 listed keys."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from typing_extensions import override

from core.ports.blob_storage import KEYS_PER_REQUEST, ObjectStat
from core.ports.staging import StagingStorage
from tests.support.faulty_blob_storage import FaultyBlobStorage


class CountedStorage(FaultyBlobStorage):
    """Counts requests.

    Args:
        inner: the store.
        has_checksums: whether the store reports the MD5 of objects, as object stores do and folders do not.
    """

    def __init__(self, inner: StagingStorage, *, has_checksums: bool = True) -> None:
        super().__init__(inner)
        self._has_checksums = has_checksums
        self._further = 0
        self._counted = 0

    def count(self) -> int:
        """Return the number of requests since the last call."""
        total = len(self.operations) + self._further
        since, self._counted = total - self._counted, total
        return since

    def reads(self) -> list[str]:
        """Return the keys of all objects that were read."""
        return [each.removeprefix("read ") for each in self.operations if each.startswith("read ")]

    @override
    async def stat(self, key: str) -> ObjectStat:
        return self._seen(await super().stat(key))

    @override
    async def walk(self, prefix: str) -> AsyncIterator[tuple[str, ObjectStat]]:
        number = 0
        async for key, stat in super().walk(prefix):
            number += 1
            self._further += number > 1 and number % KEYS_PER_REQUEST == 1
            yield key, self._seen(stat)

    @override
    async def list_child_pages(self, prefix: str, *, after: str = "") -> AsyncIterator[Sequence[str]]:
        number = 0
        async for names in super().list_child_pages(prefix, after=after):
            for name in names:
                number += 1
                self._further += number > 1 and number % KEYS_PER_REQUEST == 1
                yield [name]

    def _seen(self, stat: ObjectStat) -> ObjectStat:
        return stat if self._has_checksums else replace(stat, md5=None)
