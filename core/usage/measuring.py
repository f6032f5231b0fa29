"""The measurement of storage use, from listings of the store."""

from array import array
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from core.collection.listing import Lister
from core.collection.report import CollectionReport
from core.collection.run import CollectionOptions
from core.coordination.paced_store import PacedStore
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.store import access_key_objects, certificate_objects, layout, summary_keys
from core.store.clock import StoreClock
from core.store.damage import DamageRecords
from core.store.link_keys import repository_of
from core.trash.store import Trash, entry_of_part
from core.usage.blob_table import NOBODY, BlobTable
from core.usage.measurement import (
    Amount,
    CollectableUsage,
    Measurement,
    RepositoryUsage,
    StoreUsage,
    TrashUsage,
    order,
)

_LOCAL: Final = 1
"""Flag of a blob that a repository links which is not cached."""
_LAYER: Final = 2
"""Flag of a blob that a repository links as a blob, not as a manifest."""
_RECORDS: Final = (
    layout.CONTROL,
    layout.NOTIFICATIONS_QUEUED,
    layout.NOTIFICATIONS_DEAD,
    summary_keys.SUMMARIES,
    access_key_objects.ACCESS,
    certificate_objects.CERTIFICATES,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterContext:
    """Dependencies of a measurement other than the store."""

    clock: Callable[[], float]
    """Monotonic seconds."""
    sleep: Callable[[float], Awaitable[None]]
    salt: int
    """An odd random number."""
    is_cached: Callable[[RepositoryName], bool] = lambda _name: False
    """Whether the content of a repository comes from an upstream."""
    options: CollectionOptions | None = None
    """Options of the collection whose effect is computed; None to skip this."""
    plan: Callable[[CollectionOptions], Awaitable[CollectionReport]] | None = None
    """Runs a collection without removing anything."""


class UsageMeter:
    """Measures a store once, while servers run; used by one task.

    Nothing is locked: content that is pushed or removed during the measurement may or may not be included.

    Args:
        store: the store.
        lister: lists the links of the store.
        trash: the trash of the store.
        store_clock: the clock of the store.
        context: clock, randomness and options.
    """

    def __init__(
        self, store: PacedStore, lister: Lister, *, trash: Trash, store_clock: StoreClock, context: MeterContext
    ) -> None:
        self._store = store
        self._lister = lister
        self._trash = trash
        self._store_clock = store_clock
        self._context = context
        self._blobs = BlobTable(context.salt)
        self._names: list[RepositoryName] = []
        self._numbers: dict[RepositoryName, int] = {}
        self._flags: list[int] = []
        self._counts = array("Q")
        self._sizes = array("Q")

    async def measure(self) -> Measurement:
        """Measure the store.

        Costs listings of all objects, each object once, so one request per 1,000 objects, and one request for each
        manifest that a repository may also link as a blob. The effect of a collection costs the reads of its marking:
        one request per manifest (see `Marker`), and one more listing of the blobs.

        Memory grows by at most 64 bytes per blob and 300 bytes per repository. A collection takes 32 MB, and 8 bytes
        per link.

        Raises:
            StorageError: the store failed.
        """
        began_at = self._context.clock()
        now = (await self._store_clock.look()).now
        blobs = await self._list_blobs()
        await self._list_links()
        cached, unlinked, own = await self._sum_up()
        usage = await self._others(StoreUsage(measured_at=now, seconds=0.0))
        usage = replace(
            usage,
            repositories=len(self._names),
            blobs=blobs,
            cached=cached,
            unlinked=unlinked,
            collectable=await self._collectable(),
        )
        return Measurement(
            store=replace(usage, seconds=self._context.clock() - began_at), repositories=self._repositories(own)
        )

    async def _list_blobs(self) -> Amount:
        count = size = 0
        async for digest, stat in self._lister.blobs():
            self._blobs.add(digest, stat.size)
            count, size = count + 1, size + stat.size
        return Amount(count=count, size=size)

    async def _list_links(self) -> None:
        # Links to content without data take no space. Among them are links of distribution by sha512, which always
        # has a second link by sha256.
        async for name, found in self._lister.all_layers():
            self._count(name, found.digest, _LAYER)
        async for name, found in self._lister.all_revisions():
            known = self._blobs.get(found.digest)
            # Some clients push a manifest as a blob too.
            if known is None or (known.flags & _LAYER and await self._is_layer(name, found.digest)):
                continue
            self._count(name, found.digest, 0)

    async def _is_layer(self, name: RepositoryName, digest: Digest) -> bool:
        return await self._store.stat(layout.layer_link(name, digest)) is not None

    def _count(self, name: RepositoryName, digest: Digest, flags: int) -> None:
        if (known := self._blobs.get(digest)) is None:
            return
        number = self._number(name)
        self._blobs.hold(digest, number, flags | self._flags[number])
        self._counts[number] += 1
        self._sizes[number] += known.size

    def _number(self, name: RepositoryName) -> int:
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self._names)
            self._names.append(name)
            self._flags.append(0 if self._context.is_cached(name) else _LOCAL)
            self._counts.append(0)
            self._sizes.append(0)
        return number

    async def _sum_up(self) -> tuple[Amount, Amount, Sequence[int]]:
        """Return cached and unlinked content, and the own bytes of each repository."""
        own = array("Q", bytes(8 * len(self._names)))
        cached, unlinked = Amount(), Amount()
        for part in self._blobs.parts():
            for size, holder, flags in part:
                if holder == NOBODY:
                    unlinked = unlinked.plus(size)
                    continue
                if not flags & _LOCAL:
                    cached = cached.plus(size)
                if holder >= 0:
                    own[holder] += size
            # The process may serve requests too.
            await self._context.sleep(0)
        return cached, unlinked, own

    def _repositories(self, own: Sequence[int]) -> list[RepositoryUsage]:
        usages = [
            RepositoryUsage(name=name, blobs=count, own=own_size, shared=size - own_size)
            for name, count, size, own_size in zip(self._names, self._counts, self._sizes, own, strict=True)
        ]
        return sorted(usages, key=order)

    async def _others(self, usage: StoreUsage) -> StoreUsage:
        """Add the amounts of everything else than blobs."""
        usage = await self._add_trash(usage)
        for prefix in _RECORDS:
            async for _, stat in self._store.walk(prefix):
                usage = replace(usage, records=usage.records.plus(stat.size))
        transfers, uploads = Amount(), Amount()
        async for _, stat in self._store.walk(layout.TRANSFERS):
            transfers = transfers.plus(stat.size)
        async for key, stat in self._store.walk_repositories(layout.UPLOADS_DIRECTORY):
            uploads = uploads.plus(stat.size, count=int(_begins_session(key)))
        damaged = Amount()
        for digest in await DamageRecords(self._store.storage).listed():
            if (known := self._blobs.get(digest)) is not None:
                damaged = damaged.plus(known.size)
        return replace(
            usage, transfers=transfers, uploads=uploads, damaged=damaged, disk=await self._store.storage.space()
        )

    async def _add_trash(self, usage: StoreUsage) -> StoreUsage:
        entries, blobs, quarantined, records = 0, Amount(), Amount(), usage.records
        expiries: list[datetime] = []
        async for key, stat in self._store.walk(layout.TRASH):
            if entry := entry_of_part(key):
                entries += key == layout.trash_entry_part(entry, 0)
                records = records.plus(stat.size)
                expiries = _ends([*expiries, stat.modified_at + self._trash.keep_of(entry)])
            elif key.startswith(f"{layout.QUARANTINE}/"):
                quarantined = quarantined.plus(stat.size)
            else:
                blobs = blobs.plus(stat.size)
        trash = TrashUsage(
            entries=entries,
            blobs=blobs,
            next_expiry=min(expiries, default=None),
            last_expiry=max(expiries, default=None),
        )
        return replace(usage, trash=trash, quarantined=quarantined, records=records)

    async def _collectable(self) -> CollectableUsage | None:
        options, plan = self._context.options, self._context.plan
        if options is None or plan is None:
            return None
        report = await plan(replace(options, is_dry_run=True))
        return CollectableUsage(
            manifests=report.manifests_removed,
            blobs=Amount(count=report.blobs_removed, size=report.bytes_removed),
            grace_seconds=options.effective_grace.total_seconds(),
            deletes_untagged=options.deletes_untagged,
        )


def _begins_session(key: str) -> bool:
    name = repository_of(key)
    return name is not None and key == layout.upload_started_at(name, key.split("/")[-2])


def _ends(times: Iterable[datetime]) -> list[datetime]:
    """Return the first and the last of these times."""
    known = list(times)
    return [min(known), max(known)]
