"""Copies between storages for tests: without waiting, with all reports kept, and with comparable trees."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.catalog_index.memory import InMemoryCatalogIndex
from core.coordination.budget import Budget, Rates
from core.model.digest import StandardHasher
from core.model.names import RepositoryName
from core.ports.staging import StagingStorage
from core.registry.catalog import CatalogService
from core.store import layout
from core.summaries.changes import ChangeRecorder
from core.transfer.context import CopyContext
from core.transfer.copy import Selection, StorageCopy
from core.transfer.tally import Tally, TransferProblem, TransferProgress
from tests.support.core_services import NOW, CoreServices, in_turn
from tests.support.streams import read_stream


def memory() -> InMemoryBlobStorage:
    return InMemoryBlobStorage(now=lambda: NOW)


@dataclass
class CopyRun:
    """Passes from one storage to another, and all their reports."""

    source: StagingStorage
    target: StagingStorage
    problems: list[TransferProblem] = field(default_factory=list)
    states: list[TransferProgress] = field(default_factory=list)
    index: InMemoryCatalogIndex = field(default_factory=InMemoryCatalogIndex)
    """Catalog index of the target; like a table, it persists across passes."""
    changes: ChangeRecorder | None = None
    """Records the changes of the target."""

    async def once(self, *patterns: str, follows_deletions: bool = False, **options: Any) -> TransferProgress:
        """Make one pass and return its result; problems of earlier passes are dropped."""
        self.problems.clear()
        selection = Selection(patterns=patterns, follows_deletions=follows_deletions)
        catalog = self.catalog()
        progress = await StorageCopy(self.work(**options), selection, catalog=catalog, changes=self.changes).run()
        await catalog.flush_pending()
        return progress

    def catalog(self) -> CatalogService:
        """Return a new catalog service of the target, as in another process."""
        return CatalogService(self.index, storage=self.target)

    async def names(self) -> list[RepositoryName]:
        """Return the names in the target's catalog."""
        return list((await self.index.page(after="", limit=1000)).items)

    def work(self, **options: Any) -> CopyContext:
        services = CoreServices(storage=self.target)
        return CopyContext(
            **{
                "source": self.source,
                "target": self.target,
                "transfer_id": "test",
                "new_hasher": StandardHasher,
                "offload": in_turn,
                "budget": Budget(Rates(), clock=lambda: 0.0, sleep=asyncio.sleep),
                "sleep": lambda _seconds: asyncio.sleep(0),
                "guard": services.guard,
                "trash": services.trash,
                "tally": Tally(observe=self.states.append, report=self.problems.append),
                **options,
            }
        )


async def registry_tree(storage: StagingStorage) -> Mapping[str, bytes]:
    """Return the content of a registry by key, without upload sessions and objects outside distribution's layout."""
    found: dict[str, bytes] = {}
    for prefix in (layout.BLOBS, layout.REPOSITORIES):
        async for key, _ in storage.walk(prefix):
            if "/_uploads/" not in key:
                found[key] = await read_stream(storage, key)
    return found
