"""After any history of pushes, deletes, collections and restorations, each entry of the trash can be restored."""

import asyncio
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.errors import ManifestUnknownError, NameUnknownError
from core.model import media_types
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.trash.entry import TrashKind
from tests.support.collecting import collect
from tests.support.content import descriptor, image_index, image_manifest
from tests.support.core_services import CoreServices, in_turn
from tests.support.invariants import broken_invariants, tags_of

NAME = RepositoryName("team/app")
DELETIONS = {TrashKind.TAG, TrashKind.MANIFEST, TrashKind.REPOSITORY}
FIRST = image_manifest(b"first", [b"shared"])
SECOND = image_manifest(b"second", [b"shared", b"own"])
BOTH = image_index([FIRST, SECOND])
SIGNATURE = image_manifest(b"signature", subject=descriptor(FIRST, media_types.OCI_MANIFEST))
CONTENTS = (b"first", b"second", b"shared", b"own", b"signature")
MANIFESTS = (FIRST, SECOND, BOTH, SIGNATURE)
TAGS = ("v1", "v2", "latest")

operations = st.one_of(
    st.tuples(st.just("push"), st.sampled_from(MANIFESTS), st.sampled_from(TAGS)),
    st.tuples(st.just("delete tag"), st.sampled_from(TAGS)),
    st.tuples(st.just("delete manifest"), st.sampled_from(MANIFESTS)),
    st.tuples(st.just("delete repository")),
    st.tuples(st.just("collect")),
    st.tuples(st.just("restore"), st.integers(0, 5)),
    st.tuples(st.just("wait"), st.integers(1, 5)),
)


class Story:
    """One repository, and the operations on it."""

    def __init__(self):
        self.now = datetime(2026, 11, 24, tzinfo=UTC)
        self.services = CoreServices(storage=InMemoryBlobStorage(now=lambda: self.now), offload=in_turn)

    async def do(self, operation, *arguments):
        await getattr(self, operation.replace(" ", "_"))(*arguments)
        assert await broken_invariants(self.services, NAME) == [], (operation, arguments)

    async def push(self, manifest, tag):
        """As a client does: everything that the manifest refers to comes first, and nothing else is there for sure."""
        for content in CONTENTS:
            await self.services.push_blob(NAME, content)
        for child in (FIRST, SECOND) if manifest is BOTH else ():
            await self.services.manifests.put(NAME, child, media_types.OCI_MANIFEST)
        media_type = media_types.OCI_INDEX if manifest is BOTH else media_types.OCI_MANIFEST
        await self.services.manifests.put(NAME, manifest, media_type, tags=[Tag(tag)])

    async def delete_tag(self, tag):
        await self._delete(Tag(tag))

    async def delete_manifest(self, manifest):
        await self._delete(Digest.of(manifest))

    async def _delete(self, reference):
        try:
            await self.services.manifests.delete(NAME, reference)
        except ManifestUnknownError:
            return

    async def delete_repository(self):
        try:
            await self.services.repositories.delete(NAME)
        except NameUnknownError:
            return

    async def collect(self):
        await collect(self.services)

    async def wait(self, days):
        self.now += timedelta(days=days)
        await self.services.trash.expire()

    async def restore(self, number):
        entries = [entry async for entry in self.services.trash.entries()]
        if entries:
            await self.services.trash_service.restore(entries[number % len(entries)].id, force=True)

    async def bring_everything_back(self):
        async for removal in self.services.trash_service.removals():
            if removal.entry.kind not in DELETIONS:
                continue
            restoration = await self.services.trash_service.restore(removal.entry.id, force=True)
            assert restoration.lost == ()
            for name, tag, digest in removal.tags:
                assert (await self.services.manifests.get(name, tag)).digest == digest
            assert await broken_invariants(self.services, NAME) == []


async def _play(story):
    told = Story()
    for operation in story:
        await told.do(*operation)
    await told.bring_everything_back()
    await told.services.trash.empty()
    assert [entry async for entry in told.services.trash.entries()] == []
    assert await broken_invariants(told.services, NAME) == []
    for tag in await tags_of(told.services, NAME):
        await told.services.manifests.get(NAME, tag)


@settings(max_examples=80, deadline=None)
@given(st.lists(operations, max_size=12))
def test_every_listed_entry_can_be_restored(story):
    asyncio.run(_play(story))
