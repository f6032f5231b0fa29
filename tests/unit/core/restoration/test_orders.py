"""Restorations and deletes of repositories beside pushes and collections, in many orders of their storage requests."""

import contextlib

import pytest

from core.collection.removing import RoundLostError
from core.errors import ManifestBlobUnknownError, StorageUnavailableError, UnknownError
from core.model import media_types
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.store import layout
from core.store.link_keys import RevisionKey, parse_link_key
from tests.support.collecting_services import Store, push_image
from tests.support.content import image_index, image_manifest
from tests.support.core_services import chunks
from tests.support.promises import Promises
from tests.support.turns import ActingBlobStorage, RandomChooser, Stage

NAME = RepositoryName("a")
LAYERS = (b"shared", b"own")
IMAGE = image_manifest(b"config", LAYERS)
INDEX = image_index([IMAGE])
ORDERS = 40
REQUEST_SECONDS = 15.0


class Run:
    """A store with an image that was deleted and collected, and one that is garbage now."""

    def __init__(self, seed, *, moving=("collector", "first", "second")):
        self.store = Store()
        patience = dict.fromkeys(moving, REQUEST_SECONDS)
        self.stage = Stage(self.store.time, RandomChooser(seed), patience=patience)
        self.promises = Promises(self.store.storage)
        self.services = self.store.services()

    async def set_up(self):
        await push_image(self.services, NAME, b"kept", (b"shared",), tags=["kept"])
        await push_image(self.services, NAME, b"config", LAYERS)
        await self.services.manifests.put(NAME, INDEX, media_types.OCI_INDEX, tags=[Tag("v1")])
        await self.store.time.advance(2 * 3600)

    def replica(self, actor):
        services = self.store.services(ActingBlobStorage(self.store.storage, self.stage, actor))
        self.stage.stand_by(self._watch(services.guard))
        return services

    async def _watch(self, guard):
        while True:
            await guard.poll()
            await self.store.time.sleep(guard.poll_seconds)

    async def collect(self):
        storage = ActingBlobStorage(self.store.storage, self.stage, "collector")
        with contextlib.suppress(RoundLostError):
            await self.store.collector(storage, deletes_untagged=True).run()

    async def restore(self, services, what):
        """Run the command: every tag that it reports as restored must be there."""
        restoration = await services.trash_service.restore(what)
        for name, _, digest in restoration.tags:
            await self.promises.give(name, digest)

    async def push_index(self, services, tag):
        """Push as a client does, which does not send blobs that the registry has."""
        for blob in (b"config", *LAYERS):
            await services.uploads.put(NAME, Digest.of(blob), chunks(blob))
        for manifest, media_type in ((IMAGE, media_types.OCI_MANIFEST), (INDEX, media_types.OCI_INDEX)):
            try:
                await services.manifests.put(NAME, manifest, media_type, tags=[Tag(tag)] if manifest is INDEX else [])
            except ManifestBlobUnknownError:
                # Its image was just deleted: the push is refused, and the client pushes it again.
                return


async def incomplete(run):
    """Return the manifests of the repository that cannot be pulled completely."""
    promises = Promises(run.store.storage)
    for key in await run.store.keys(layout.revisions(NAME)):
        link = parse_link_key(key)
        if isinstance(link, RevisionKey):
            await promises.give(NAME, link.digest)
    return promises.broken


@pytest.mark.parametrize("seed", range(ORDERS))
async def test_content_restored_during_a_collection_is_complete(seed):
    run = Run(seed)
    await run.set_up()
    await run.services.manifests.delete(NAME, Tag("v1"))
    await run.store.collect(deletes_untagged=True)
    assert await run.store.keys(layout.TRASH)
    await run.stage.play([run.restore(run.replica("first"), "a:v1"), run.collect()])
    assert await run.promises.check() == []


@pytest.mark.parametrize("seed", range(ORDERS))
async def test_suspended_restoration_reports_nothing_false(seed):
    """Its machine is suspended in the middle of a request for any time."""
    run = Run(seed, moving=("collector",))
    await run.set_up()
    await run.services.manifests.delete(NAME, Tag("v1"))
    # A collection may have removed something permanently; then the restoration fails.
    with contextlib.suppress(UnknownError, StorageUnavailableError):
        await run.stage.play([run.restore(run.replica("first"), "a:v1"), run.collect()])
    assert await run.promises.check() == []


@pytest.mark.parametrize("seed", range(ORDERS))
async def test_content_restored_right_after_its_deletion_is_complete(seed):
    """It is not collected yet, or right now."""
    run = Run(seed)
    await run.set_up()
    await run.services.manifests.delete(NAME, Tag("v1"))
    await run.stage.play([run.restore(run.replica("first"), "a:v1"), run.collect()])
    assert await run.promises.check() == []


@pytest.mark.parametrize("seed", range(ORDERS))
async def test_two_restorations_at_once_do_no_harm(seed):
    run = Run(seed)
    await run.set_up()
    await run.services.manifests.delete(NAME, Tag("v1"))
    await run.store.collect(deletes_untagged=True)

    async def restore(actor):
        # The other one was faster, and has ended the entry.
        with contextlib.suppress(UnknownError):
            await run.restore(run.replica(actor), "a:v1")

    await run.stage.play([restore("first"), restore("second")])
    assert await run.promises.check() == []
    assert await run.services.tag_links.resolve(NAME, Tag("v1")) == Digest.of(INDEX)


@pytest.mark.parametrize("seed", range(ORDERS))
async def test_deletion_push_and_collection_leave_nothing_broken(seed):
    run = Run(seed)
    await run.set_up()

    async def delete():
        await run.replica("second").repositories.delete(NAME)

    await run.stage.play([run.push_index(run.replica("first"), "new"), delete(), run.collect()])
    assert await incomplete(run) == []


@pytest.mark.parametrize("seed", range(ORDERS))
async def test_repository_that_is_deleted_during_a_push_holds_nothing_broken(seed):
    run = Run(seed)
    await run.set_up()

    async def delete():
        await run.replica("second").repositories.delete(NAME)

    await run.stage.play([run.push_index(run.replica("first"), "new"), delete()])
    assert await incomplete(run) == []
    for tag in ("new", "v1"):
        target = await run.services.tag_links.resolve(NAME, Tag(tag))
        if target is not None:
            await run.services.manifests.get(NAME, target)
