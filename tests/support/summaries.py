"""A store with images, the records of their pushes, and services that summarize it."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.retention.pulls import PullHistory
from core.store import layout
from core.store.links import Links
from core.store.tag_links import TagLinks
from core.summaries.changes import ChangeKind, ChangeLog, ChangeRecorder
from core.summaries.folding import SummaryFolding
from core.summaries.service import SummaryService
from tests.support.content import image_index, image_manifest
from tests.support.core_services import counting_ids
from tests.support.counted_requests import CountedStorage
from tests.support.simulated_time import SimulatedTime

NAME = RepositoryName("team/app")


async def inline(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function without a thread."""
    await asyncio.sleep(0)
    return function(*arguments)


class SummarizedStore:
    """Writes what a registry writes, without its checks, and reads it through summaries."""

    def __init__(self, storage: CountedStorage, time: SimulatedTime) -> None:
        self.storage = storage
        self.time = time
        self.tag_links = TagLinks(storage, Links(storage))
        self.changes = ChangeRecorder(storage, now=time.now, new_id=counting_ids())
        self.may_store = True

    def service(self) -> SummaryService:
        """Return the service of a process that has just started."""
        return SummaryService(
            self.storage,
            self.tag_links,
            log=ChangeLog(self.storage),
            clock=self.time.clock,
            now=self.time.now,
            offload=inline,
            may_store=lambda: self.may_store,
        )

    def folding(self, *, merges_pulls: bool = False) -> SummaryFolding:
        """Return the folding job of a process that has just started."""
        pulls = PullHistory(self.storage, new_id=counting_ids()) if merges_pulls else None
        log = ChangeLog(self.storage)
        return SummaryFolding(self.storage, log=log, summaries=self.service(), pulls=pulls, offload=inline)

    async def put(self, content: bytes, *, name: RepositoryName = NAME) -> Digest:
        """Store a manifest in a repository."""
        digest = Digest.of(content)
        await self.storage.inner.write(layout.blob_data(digest), content)
        await self.storage.inner.write(layout.revision_link(name, digest), digest.encode())
        return digest

    async def put_image(
        self, label: str = "", *, name: RepositoryName = NAME, layers: Sequence[bytes] = (), **members: Any
    ) -> Digest:
        """Store an image for linux/amd64 with a label."""
        document = {"os": "linux", "architecture": "amd64", "config": {"Labels": {"l": label}}}
        config = json.dumps(document).encode()
        await self.put_blob(config, name=name)
        return await self.put(image_manifest(config, layers, **members), name=name)

    async def put_blob(self, content: bytes, *, name: RepositoryName = NAME) -> None:
        """Store a blob in a repository."""
        digest = Digest.of(content)
        await self.storage.inner.write(layout.blob_data(digest), content)
        await self.storage.inner.write(layout.layer_link(name, digest), digest.encode())

    async def put_index(self, children: Sequence[bytes], *, name: RepositoryName = NAME) -> Digest:
        """Store an index of manifests, which need not exist."""
        return await self.put(image_index(children), name=name)

    async def point(self, tag: str, digest: Digest, *, name: RepositoryName = NAME) -> None:
        """Point a tag at a manifest without a record, as another registry does."""
        await TagLinks(self.storage.inner, Links(self.storage.inner)).point(name, Tag(tag), digest)

    async def tag(self, tag: str, digest: Digest, *, by: str = "alice", name: RepositoryName = NAME) -> None:
        """Point a tag at a manifest, with a record."""
        await self.point(tag, digest, name=name)
        await self.changes.record(ChangeKind.PUSH, name, tags=[(Tag(tag), digest)], by=by)

    async def untag(self, tag: str, *, name: RepositoryName = NAME) -> None:
        """Delete a tag, with a record."""
        await self.storage.inner.delete_tree(layout.tag(name, Tag(tag)))
        await self.changes.record(ChangeKind.DELETE, name, tags=[(Tag(tag), None)], by="alice")

    async def fill(self, tags: int, *, name: RepositoryName = NAME) -> Mapping[str, Digest]:
        """Store an image under each of many tags, without records."""
        filled = {}
        for number in range(tags):
            filled[f"t{number:05}"] = await self.put_image(str(number), name=name)
            await self.point(f"t{number:05}", filled[f"t{number:05}"], name=name)
        return filled
