"""Clients, replicas and collectors on one store, in thousands of orders of their storage requests.

In any order, and with a process suspended for any time, content answered with 201 exists completely at the end. It
exists at the answer too, unless a collector was suspended in the middle of a request for long enough to count as dead.
If no process is suspended, a client that got 200 for a layer can also push the manifest that needs the layer.
"""

import contextlib
import json
from dataclasses import dataclass
from enum import Enum, auto

import pytest

from core.collection.guard import CollectionGuard
from core.collection.marking import Marker
from core.collection.removing import RoundLostError
from core.errors import BlobUnknownError, ManifestBlobUnknownError, ManifestUnknownError
from core.model import media_types
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from tests.support.collecting_services import Store, push_image
from tests.support.content import descriptor, image_index, image_manifest
from tests.support.core_services import chunks
from tests.support.promises import Promises
from tests.support.turns import ActingBlobStorage, RandomChooser, Stage, broken_by_two_switches

# Other tests run the same lines; measuring coverage here would double the time of this file.
pytestmark = pytest.mark.unmeasured

NAME, OTHER = RepositoryName("a"), RepositoryName("b")


@dataclass(frozen=True)
class Image:
    """An image as a client has it."""

    config: bytes
    layers: tuple[bytes, ...] = ()
    subject: dict[str, object] | None = None

    @property
    def manifest(self):
        return image_manifest(self.config, self.layers, subject=self.subject)

    @property
    def digest(self):
        return Digest.of(self.manifest)


KEPT = Image(b"kept config", (b"shared",))
OLD = Image(b"old config", (b"shared", b"old layer"))
NEW = Image(b"new config", (b"old layer",))
SBOM = Image(b"sbom config", (), descriptor(OLD.manifest, media_types.OCI_MANIFEST))
INDEX = image_index([OLD.manifest])


class Mode(Enum):
    """Who may stand still, for any time, in the middle of a request."""

    NOBODY = auto()
    SERVERS = auto()
    COLLECTORS = auto()


REQUEST_SECONDS = 15.0
"""Longest duration of a request of an actor that is not suspended."""


class Run:
    """One run: a store with an image that is kept, and one that only manifests without a tag are left of."""

    def __init__(self, chooser, mode):
        self.store = Store()
        movers = {"pusher", "second pusher"} if mode is Mode.COLLECTORS else {"collector", "second collector"}
        if mode is Mode.NOBODY:
            movers |= {"pusher", "second pusher"}
        self.stage = Stage(self.store.time, chooser, patience=dict.fromkeys(movers, REQUEST_SECONDS))
        self.promises = Promises(self.store.storage, looks_at_once=mode is not Mode.COLLECTORS)
        self.mode = mode
        self.is_watchful = mode is Mode.NOBODY

    def view(self, name):
        return ActingBlobStorage(self.store.storage, self.stage, name)

    async def set_up(self):
        for key, content in (await objects_at_the_start()).items():
            await self.store.storage.write(key, content)
        await self.store.time.advance(2 * 3600)
        await self.promises.give(NAME, KEPT.digest)

    def replica(self, name):
        services = self.store.services(self.view(name))
        if self.mode is not Mode.SERVERS:
            self.stage.stand_by(self._watch(services.guard))
        return services

    async def _watch(self, guard):
        while True:
            await guard.poll()
            await self.store.time.sleep(guard.poll_seconds)

    async def collect(self, name="collector"):
        storage = self.view(name)
        # One that stood still for a minute gives up: another collector took its round for that of a dead one.
        with contextlib.suppress(RoundLostError):
            await self.store.collector(storage, deletes_untagged=True).run()

    async def play(self, *actors):
        await self.set_up()
        await self.stage.play([actor(self) for actor in actors])
        return await self.promises.check()


_START: dict[str, bytes] = {}


async def objects_at_the_start():
    """Return the objects with which the store of every run begins. The first run computes them for all runs."""
    if _START:
        return _START
    store = Store()
    services = store.services()
    await push_image(services, NAME, KEPT.config, KEPT.layers, tags=["kept"])
    await push_image(services, NAME, OLD.config, OLD.layers)
    await push_image(services, OTHER, OLD.config, OLD.layers, tags=["gone"])
    await services.manifests.delete(OTHER, OLD.digest)
    await services.push_blob(NAME, b"sbom config")
    _START.update({key: await store.storage.read(key) for key in await store.keys()})
    return _START


async def client_pushes(run, services, name, image, *, tag=None, source=None):
    """Push as docker does: ask for each blob, mount or send the missing ones, then send the manifest."""
    for blob in (image.config, *image.layers):
        digest = Digest.of(blob)
        try:
            await services.blobs.stat(name, digest)
        except BlobUnknownError:
            if source is None or not await services.blobs.mount(name, digest, source=source):
                await services.uploads.put(name, digest, chunks(blob))
    try:
        await put(run, services, name, image.manifest, tag)
    except ManifestBlobUnknownError as error:
        if run.is_watchful:
            run.promises.broken.append(f"refused although all was told to be there: {error.digests}")


async def put(run, services, name, manifest, tag):
    media_type = json.loads(manifest)["mediaType"]
    await services.manifests.put(name, manifest, media_type, tags=[Tag(tag)] if tag else [])
    await run.promises.give(name, Digest.of(manifest))


async def push_again(run):
    await client_pushes(run, run.replica("pusher"), NAME, OLD, tag="again")


async def push_elsewhere(run):
    await client_pushes(run, run.replica("second pusher"), OTHER, OLD, tag="again", source=NAME)


async def push_new_with_old_layer(run):
    await client_pushes(run, run.replica("pusher"), NAME, NEW, tag="new")


async def tag_by_manifest(run):
    """A client that finds the manifest by its digest, and pushes it under a tag without asking for its layers."""
    services = run.replica("pusher")
    try:
        found = await services.manifests.get(NAME, OLD.digest)
        await put(run, services, NAME, found.content, "again")
    except ManifestUnknownError:
        return
    except ManifestBlobUnknownError as error:
        if run.is_watchful:
            run.promises.broken.append(f"the manifest was there, its blobs were not: {error.digests}")


async def push_index(run):
    services = run.replica("pusher")
    try:
        await services.manifests.get(NAME, OLD.digest)
    except ManifestUnknownError:
        await client_pushes(run, services, NAME, OLD)
    try:
        await put(run, services, NAME, INDEX, "multi")
    except ManifestBlobUnknownError as error:
        if run.is_watchful:
            run.promises.broken.append(f"the manifest was there and could not be listed: {error.digests}")


async def push_referrer(run):
    services = run.replica("pusher")
    await client_pushes(run, services, NAME, OLD, tag="again")
    await client_pushes(run, services, NAME, SBOM)


async def delete(run, services, name, digest):
    run.promises.take_back(name, digest)
    # The collector may be faster with one that has no tag.
    with contextlib.suppress(ManifestUnknownError):
        await services.manifests.delete(name, digest)


async def move_tag(run):
    services = run.replica("second pusher")
    await client_pushes(run, services, NAME, OLD, tag="kept")
    await delete(run, services, NAME, KEPT.digest)


async def delete_and_push_again(run):
    services = run.replica("pusher")
    await delete(run, services, NAME, OLD.digest)
    await client_pushes(run, services, NAME, OLD, tag="again")


async def collect(run):
    await run.collect()


async def collect_too(run):
    await run.collect("second collector")


SCENARIOS = {
    "push-again": [push_again, collect],
    "mount": [push_elsewhere, collect],
    "new-image-with-an-old-layer": [push_new_with_old_layer, collect],
    "tag-by-manifest": [tag_by_manifest, collect],
    "index": [push_index, collect],
    "referrer": [push_referrer, collect],
    "tag-move": [move_tag, collect],
    "delete-and-push-again": [delete_and_push_again, collect],
    "two-replicas": [push_again, push_elsewhere, collect],
    "two-collectors": [push_again, collect, collect_too],
    "everybody": [push_new_with_old_layer, push_elsewhere, move_tag, collect, collect_too],
}
RANDOM_ORDERS = 10
"""For each scenario and mode, which have seeds of their own: one seed plays alike in all of them."""


async def broken_by(scenario, chooser, mode=Mode.SERVERS):
    return await Run(chooser, mode).play(*SCENARIOS[scenario])


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_random_orders_break_no_promise(scenario, mode):
    first = RANDOM_ORDERS * (len(Mode) * list(SCENARIOS).index(scenario) + mode.value - 1)
    for seed in range(first, first + RANDOM_ORDERS):
        assert await broken_by(scenario, RandomChooser(seed), mode) == [], f"seed {seed}"


@pytest.mark.parametrize("scenario", ["push-again", "tag-by-manifest"])
@pytest.mark.parametrize(
    ("first", "second", "before", "between"), [("collector", "pusher", 60, 20), ("pusher", "collector", 20, 60)]
)
async def test_orders_with_two_switches_break_no_promise(scenario, first, second, before, between):
    async def play(chooser):
        run = Run(chooser, Mode.SERVERS)
        broken = await run.play(*SCENARIOS[scenario])
        return run.stage, broken

    starts, lengths = range(before), range(1, between, 3 if between < 30 else 4)
    assert await broken_by_two_switches(play, first, second, starts=starts, lengths=lengths) == []


async def is_found_out(scenario):
    for seed in range(100):
        if await broken_by(scenario, RandomChooser(seed)):
            return True
    return False


async def test_without_confirming_a_promise_is_broken(monkeypatch):
    """The explorer can fail: a guard that confirms nothing is found out."""

    async def confirm(_self, _ticket, _needs, *, expand=None):
        return ()

    monkeypatch.setattr(CollectionGuard, "confirm", confirm)
    assert await is_found_out("new-image-with-an-old-layer")


async def test_without_a_second_check_a_promise_is_broken(monkeypatch):
    """A collector without a second check loses content of a push that had not seen its round."""

    async def mark_new(_self):
        return

    monkeypatch.setattr(Marker, "mark_new", mark_new)
    assert await is_found_out("push-again")
