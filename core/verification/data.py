"""First phase: checks that the bytes of every blob hash to its digest."""

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from core.concurrency import map_bounded
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.ports.blob_storage import ObjectStat
from core.store import layout
from core.store.damage import DamageRecords
from core.store.link_keys import digests_in, parse_blob_key
from core.verification.context import Context
from core.verification.findings import Step
from core.verification.suspects import suspect_data, suspect_leftover

_AT_ONCE: Final = 4
"""Blobs hashed at once. Each takes a core; more would only spread the budget over more blobs."""
_BATCH_BLOBS_MAX: Final = 64
_BATCH_BYTES_MAX: Final = 256 * 1024 * 1024
"""Maximum bytes of a batch, which are read again after a kill. A larger blob is a batch of its own."""
_PREFIX_DIGITS: Final = 8


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob found in a listing."""

    digest: Digest
    stat: ObjectStat


class DataCheck:
    """Reads blobs in ascending order of digests. With `fast`, checks only the sizes in the listing.

    Blobs that a pull found damaged (`core.store.damage`) are always read. The check removes the records of blobs that
    are sound, repaired or gone.
    """

    def __init__(self, context: Context, records: DamageRecords, *, fast: bool) -> None:
        self._context = context
        self._records = records
        self._fast = fast
        self._recorded: set[Digest] = set()

    async def steps(self, *, after: str) -> AsyncGenerator[Step, None]:
        """Check all blobs greater than `after`, one batch per step."""
        self._recorded = set(await self._records.listed())
        async for algorithm, shard in self._shards(after):
            prefix = f"{layout.BLOBS}/{algorithm}/{shard}"
            # Listings have no guaranteed order, so each shard is sorted. A shard is 1/256 of all and fits into memory.
            blobs, strays = [], []
            async for key, stat in self._context.reader.walk(prefix):
                digest = parse_blob_key(key)
                if digest is None:
                    strays.append(key)
                elif digest > after:
                    blobs.append(StoredBlob(digest, stat))
            blobs.sort(key=lambda blob: blob.digest)
            for batch in _batches(blobs, bytes_max=_BATCH_BYTES_MAX):
                yield await self._step(batch)
            yield Step(
                cursor=max(after, f"{algorithm}:{shard}~"),
                findings=await self._context.confirmer.confirm(
                    [suspect_leftover(self._context, key) for key in strays]
                ),
            )
        gone = [each for each in self._recorded if await self._context.reader.stat(layout.blob_data(each)) is None]
        await self._records.remove(gone)

    async def linked_steps(self, name: RepositoryName, *, after: str) -> AsyncGenerator[Step, None]:
        """Check the blobs greater than `after` that a repository links."""
        self._recorded = set(await self._records.listed())
        digests: set[Digest] = set()
        for prefix in (layout.layers(name), layout.revisions(name), layout.incomplete(name)):
            async for key, _ in self._context.reader.walk(prefix):
                digests.update(digests_in(key.removeprefix(prefix + "/")))
        blobs = []
        for digest in sorted(digest for digest in digests if digest > after):
            stat = await self._context.reader.stat(layout.blob_data(digest))
            if stat is not None:
                blobs.append(StoredBlob(digest, stat))
        for batch in _batches(blobs, bytes_max=_BATCH_BYTES_MAX):
            yield await self._step(batch)

    async def _shards(self, after: str) -> AsyncIterator[tuple[str, str]]:
        reader = self._context.reader
        async for algorithm in reader.children(layout.BLOBS):
            async for shard in reader.children(f"{layout.BLOBS}/{algorithm}"):
                if f"{algorithm}:{shard}~" > after:
                    yield algorithm, shard

    async def _step(self, batch: Sequence[StoredBlob]) -> Step:
        verdicts = await map_bounded(self._looks_sound, batch, at_once=_AT_ONCE)
        suspects = [blob.digest for blob, is_sound in zip(batch, verdicts, strict=True) if not is_sound]
        findings = await self._context.confirmer.confirm([suspect_data(self._context, digest) for digest in suspects])
        await self._remove_records(batch, {finding.digest for finding in findings if finding.is_damaged_data})
        last = batch[-1].digest
        return Step(
            cursor=last,
            findings=findings,
            blobs=len(batch),
            blob_bytes=0 if self._fast else sum(blob.stat.size for blob in batch),
            fraction=_fraction(last),
        )

    async def _remove_records(self, batch: Sequence[StoredBlob], damaged: Collection[str]) -> None:
        checked = self._recorded.intersection(blob.digest for blob in batch)
        await self._records.remove([digest for digest in checked if digest not in damaged])
        self._recorded -= checked

    async def _looks_sound(self, blob: StoredBlob) -> bool:
        if self._fast and blob.digest not in self._recorded:
            return blob.stat.size > 0 or blob.digest == Digest.of(b"", blob.digest.algorithm)
        state = await self._context.reader.data(layout.blob_data(blob.digest), blob.digest.algorithm)
        return state is None or state.digest == blob.digest


def _batches(blobs: Sequence[StoredBlob], *, bytes_max: int) -> list[list[StoredBlob]]:
    batches: list[list[StoredBlob]] = []
    size = 0
    for blob in blobs:
        if not batches or len(batches[-1]) == _BATCH_BLOBS_MAX or size + blob.stat.size > bytes_max:
            batches.append([])
            size = 0
        batches[-1].append(blob)
        size += blob.stat.size
    return batches


def _fraction(digest: Digest) -> float:
    # Digests are evenly distributed, so the position of a digest among all possible ones is the completed fraction.
    return int(digest.encoded[:_PREFIX_DIGITS], 16) / float(16**_PREFIX_DIGITS)
