"""Publication by the operations of the registry, for each caller."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from typing_extensions import override

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.catalog_index.memory import InMemoryCatalogIndex
from core.errors import (
    AuditUnavailableError,
    DeniedError,
    ManifestUnknownError,
    RangeInvalidError,
    StorageUnavailableError,
)
from core.model.digest import Digest
from core.model.events import Actor, EventAction, Occurrence, Origin
from core.model.media_types import OCI_MANIFEST, OCTET_STREAM
from core.model.names import RepositoryName, Tag
from core.ports.audit_log import AuditAction, AuditEvent, AuditLog
from core.ports.event_sink import EventSink
from core.registry.facade import Registry, TagRemoval
from core.registry.manifest_references import ManifestPolicy
from core.retention.pulls import PullRecorder
from core.retention.rules import RetentionRule
from core.summaries.changes import ChangeKind
from core.summaries.tag_history import HistoryQuery
from tests.support.content import image_manifest
from tests.support.core_services import NOW, CoreServices, chunks, counting_ids
from tests.support.simulated_time import SimulatedTime

NAME = RepositoryName("a/b")
OTHER = RepositoryName("c")
LAYER = b"layer"
LAYER_DIGEST = Digest.of(LAYER)
IMAGE = image_manifest(b"{}", [LAYER])
DIGEST = Digest.of(IMAGE)
NEWER = image_manifest(b"{}", [LAYER], annotations={"number": "2"})
V1, V2 = Tag("v1"), Tag("v2")
ORIGIN = Origin(actor="alice", request_id="r", root="https://r.example/")
ALICE = Actor("alice", lambda: ORIGIN)
BOB = Actor("bob")


@dataclass
class ListSink(EventSink):
    """Keeps events; refuses those of changes while `fails`."""

    wanted: frozenset[EventAction] = frozenset(EventAction)
    references: bool = False
    fails: bool = False
    emitted: list[tuple[Occurrence, Origin]] = field(default_factory=list)

    @override
    def wants(self, action: EventAction, media_type: str = "") -> bool:
        return action in self.wanted

    @property
    @override
    def wants_references(self) -> bool:
        return self.references

    @override
    async def emit(self, occurrences: Sequence[Occurrence], origin: Origin) -> None:
        if self.fails:
            raise StorageUnavailableError("no space left on device")
        self.emitted += [(occurrence, origin) for occurrence in occurrences]

    def take(self) -> list[Occurrence]:
        taken, self.emitted = self.emitted, []
        return [occurrence for occurrence, _ in taken]


@dataclass
class ListAuditLog(AuditLog):
    name = "a list"
    fails: bool = False
    events: list[AuditEvent] = field(default_factory=list)

    @override
    async def record(self, event: AuditEvent) -> None:
        if self.fails:
            raise AuditUnavailableError("the disk is full")
        self.events.append(event)

    @override
    def check(self) -> None:
        return


@pytest.fixture
def sink() -> ListSink:
    return ListSink()


@pytest.fixture
def audit_log() -> ListAuditLog:
    return ListAuditLog()


@pytest.fixture
def services(sink, audit_log) -> CoreServices:
    rules = [RetentionRule(keep_last=1)]
    return CoreServices(events=sink, audit_log=audit_log, retention_rules=rules)


@pytest.fixture
async def registry(services, sink) -> Registry:
    """A registry with an image, tagged `v1` and `v2`."""
    registry = services.registry(InMemoryCatalogIndex())
    for content in (b"{}", LAYER):
        await services.push_blob(NAME, content)
    await registry.push_manifest(NAME, IMAGE, OCI_MANIFEST, by=ALICE, tags=[V1, V2])
    return registry


def delete(**named: Any) -> Occurrence:
    return Occurrence(action=EventAction.DELETE, repository=NAME, **named)


async def test_push_of_blobs_and_a_manifest(registry, services, sink):
    config, layer, *manifests = sink.emitted
    assert config[1] == layer[1] == Origin()
    assert (layer[0].action, layer[0].digest, layer[0].media_type) == (EventAction.PUSH, LAYER_DIGEST, OCTET_STREAM)
    assert (layer[0].size, layer[0].url) == (len(LAYER), "")
    assert [(each.tag, origin) for each, origin in manifests] == [(V1, ORIGIN), (V2, ORIGIN)]
    assert manifests[0][0] == Occurrence(
        action=EventAction.PUSH,
        repository=NAME,
        digest=DIGEST,
        media_type=OCI_MANIFEST,
        size=len(IMAGE),
        tag=V1,
        url=f"https://r.example/v2/{NAME}/manifests/{DIGEST}",
    )
    sink.take()
    await registry.push_manifest(NAME, IMAGE, OCI_MANIFEST, by=ALICE)
    [untagged] = sink.take()
    assert untagged.tag is None


async def test_upload_in_pieces_publishes_once_it_is_complete(registry, services, sink):
    sink.take()
    state = await services.uploads.append(await services.uploads.start(NAME), chunks(b"new"))
    assert sink.take() == []
    digest = Digest.of(b"new layer")
    await services.uploads.complete(state, digest, chunks(b" layer"), by=ALICE)
    [pushed] = sink.take()
    assert (pushed.digest, pushed.url) == (digest, f"https://r.example/v2/{NAME}/blobs/{digest}")


async def test_mount_names_its_source(registry, services, sink):
    sink.take()
    await services.blobs.mount(OTHER, LAYER_DIGEST, source=NAME, by=ALICE)
    await services.blobs.mount(OTHER, Digest.of(b"none"), source=NAME, by=ALICE)
    [mounted] = sink.take()
    assert (mounted.action, mounted.repository, mounted.from_repository) == (EventAction.MOUNT, OTHER, NAME)


@pytest.mark.parametrize("references", [True, False])
async def test_pull_of_a_manifest(registry, sink, references):
    sink.take()
    sink.references = references
    for reference in (V1, DIGEST):
        manifest = await registry.pull_manifest(NAME, reference, by=ALICE)
        assert manifest.content == IMAGE
    by_tag, by_digest = sink.take()
    assert (by_tag.action, by_tag.tag, by_tag.digest) == (EventAction.PULL, V1, DIGEST)
    assert by_digest.tag is None
    assert len(by_tag.references) == (2 if references else 0)


async def test_manifest_that_the_client_has_is_no_pull(registry, sink):
    sink.take()
    await registry.pull_manifest(NAME, V1, by=ALICE, is_held=lambda digest: digest == DIGEST)
    assert sink.take() == []
    await registry.pull_manifest(NAME, V1, by=ALICE, describes=True, is_held=lambda digest: digest != DIGEST)
    assert len(sink.take()) == 1


async def test_pulls_of_manifests_are_recorded_even_if_the_client_has_them(services, sink):
    recorder = PullRecorder(services.storage, clock=lambda: 0.0, new_id=counting_ids())
    services.pull_recorder = recorder
    registry = services.registry(InMemoryCatalogIndex())
    await services.push_blob(NAME, b"{}")
    await services.push_blob(NAME, LAYER)
    await registry.push_manifest(NAME, IMAGE, OCI_MANIFEST, by=ALICE, tags=[V1])
    await registry.pull_manifest(NAME, V1, by=ALICE, is_held=lambda _digest: True)
    assert await recorder.flush() == 1
    pulls = await services.pulls.read(oldest=timedelta(days=1), merges=False)
    assert pulls.last(NAME, DIGEST) is not None


async def test_reading_a_blob_is_a_pull_only_for_a_client(registry, services, sink):
    sink.take()
    for client in (None, ALICE):
        await services.blobs.stat(NAME, LAYER_DIGEST, pulled_by=client)
        async with services.blobs.open(NAME, LAYER_DIGEST, offset=1, pulled_by=client):
            assert len(sink.take()) == bool(client)
        parts = services.blobs.open_parts(NAME, LAYER_DIGEST, [(0, 1), (2, 1)], pulled_by=client)
        assert [reader.length async for reader in parts] == [1, 1]
        pulled = sink.take()
        assert [(each.action, each.digest, each.size) for each in pulled] == (
            [(EventAction.PULL, LAYER_DIGEST, len(LAYER))] * 2 if client else []
        )


async def test_pull_that_ends_early_is_not_published(registry, services, sink):
    sink.take()
    with pytest.raises(RangeInvalidError):
        async with services.blobs.open(NAME, LAYER_DIGEST, pulled_by=ALICE):
            raise RangeInvalidError(5)
    assert sink.take() == []


class RedirectingStorage(InMemoryBlobStorage):
    @override
    async def redirect_url(self, key: str, *, method: str) -> str | None:
        return f"https://store{key}"


async def test_redirect_is_a_pull(sink):
    services = CoreServices(storage=RedirectingStorage(now=lambda: NOW), events=sink)
    await services.push_blob(NAME, LAYER)
    sink.take()
    assert await services.blobs.redirect_url(NAME, LAYER_DIGEST) is not None
    assert sink.take() == []
    await services.blobs.redirect_url(NAME, LAYER_DIGEST, pulled_by=ALICE)
    [pulled] = sink.take()
    assert (pulled.action, pulled.size) == (EventAction.PULL, len(LAYER))


async def test_deletes(registry, services, sink):
    sink.take()
    await registry.delete_manifest(NAME, V1, by=ALICE)
    assert sink.take() == [delete(tag=V1)]
    await registry.delete_manifest(NAME, DIGEST, by=ALICE)
    assert sink.take() == [delete(digest=DIGEST), delete(tag=V2)]
    await services.blobs.unlink(NAME, LAYER_DIGEST, by=ALICE)
    assert sink.take() == [delete(digest=LAYER_DIGEST)]
    entries = [removal.entry async for removal in registry.trash.removals(NAME)]
    assert {entry.by for entry in entries} == {"alice"}


async def test_several_tags_are_deleted_together(registry, sink):
    await registry.push_manifest(NAME, IMAGE, OCI_MANIFEST, by=ALICE, tags=[Tag("v10")])
    sink.take()
    removal = await registry.delete_tags(NAME, {V1: DIGEST, V2: DIGEST}, by=BOB)
    assert removal.tags == {V1: DIGEST, V2: DIGEST}
    assert sink.take() == [delete(tag=V1), delete(tag=V2)]
    [trashed] = [removal async for removal in registry.trash.removals(NAME)]
    assert (trashed.entry.id, trashed.entry.by) == (removal.entry, "bob")
    assert [tag for _, tag, _ in trashed.tags] == [V1, V2]
    assert (await registry.tags.page(NAME, n=None, last="")).items == [Tag("v10")]
    newest = (await registry.history.page(NAME, V1, HistoryQuery())).items[0]
    assert (newest.kind, newest.digest, newest.by) == (ChangeKind.DELETE, DIGEST, "bob")


async def test_older_manifest_gets_its_tag_back(registry, sink):
    await registry.push_manifest(NAME, NEWER, OCI_MANIFEST, by=ALICE, tags=[V1])
    sink.take()
    pushed = await registry.put_back(NAME, V1, DIGEST, by=BOB)
    assert (pushed.digest, pushed.moved) == (DIGEST, [V1])
    [event] = sink.take()
    assert (event.action, event.tag, event.digest) == (EventAction.PUSH, V1, DIGEST)
    newest = (await registry.history.page(NAME, V1, HistoryQuery())).items[0]
    assert (newest.kind, newest.digest, newest.by) == (ChangeKind.PUSH, DIGEST, "bob")
    with pytest.raises(ManifestUnknownError):
        await registry.put_back(NAME, V1, Digest.of(b"none"), by=BOB)


async def test_tags_that_moved_or_are_gone_are_not_deleted(registry, sink):
    sink.take()
    gone = Tag("gone")
    removal = await registry.delete_tags(NAME, {V1: Digest.of(NEWER), gone: DIGEST}, by=BOB)
    assert removal == TagRemoval(tags={})
    assert (await registry.delete_tags(NAME, {V2: DIGEST, gone: DIGEST}, by=BOB)).tags == {V2: DIGEST}
    assert sink.take() == [delete(tag=V2)]
    assert await registry.manifests.tag_target(NAME, V1) == DIGEST


async def test_deletion_of_tags_without_a_trash_has_no_entry(sink):
    services = CoreServices(events=sink, trash_keep=timedelta())
    registry = services.registry(InMemoryCatalogIndex())
    assert registry.trash.keep == timedelta()
    for content in (b"{}", LAYER):
        await services.push_blob(NAME, content)
    await registry.push_manifest(NAME, IMAGE, OCI_MANIFEST, by=ALICE, tags=[V1])
    assert await registry.delete_tags(NAME, {V1: DIGEST}, by=BOB) == TagRemoval(tags={V1: DIGEST})


async def test_immutable_tag_prevents_the_deletion_of_others(sink):
    services = CoreServices(events=sink, policy=ManifestPolicy(is_immutable=lambda _name, tag: tag == V1))
    registry = services.registry(InMemoryCatalogIndex())
    assert [registry.tag_lists.is_immutable(NAME, tag) for tag in (V1, V2)] == [True, False]
    for content in (b"{}", LAYER):
        await services.push_blob(NAME, content)
    await registry.push_manifest(NAME, IMAGE, OCI_MANIFEST, by=ALICE, tags=[V1, V2])
    with pytest.raises(DeniedError, match="immutable"):
        await registry.delete_tags(NAME, {V2: DIGEST, V1: DIGEST}, by=BOB)
    assert await registry.manifests.tag_target(NAME, V2) == DIGEST


async def test_deleted_repository_and_its_restoration(registry, sink):
    sink.take()
    await registry.delete_repository(NAME, by=BOB, dry_run=True)
    assert sink.take() == []
    removal = await registry.delete_repository(NAME, by=BOB)
    assert sink.emitted == [(delete(), Origin(actor="bob"))]
    sink.take()
    await registry.restore(removal.entry, by=BOB)
    assert [(origin, each.action, each.tag, each.digest, each.url) for each, origin in sink.emitted] == [
        (Origin(actor="bob"), EventAction.PUSH, tag, DIGEST, "") for tag in (V1, V2)
    ]


async def test_restored_blob_is_not_published(registry, services, sink):
    await registry.delete_manifest(NAME, DIGEST, by=ALICE)
    await services.blobs.unlink(NAME, LAYER_DIGEST, by=ALICE)
    [entry] = [each.entry.id async for each in registry.trash.removals() if not each.manifests]
    sink.take()
    await registry.restore(entry, by=BOB)
    assert sink.take() == []


@pytest.fixture
async def retained(sink, audit_log) -> Registry:
    """A registry in which retention deletes `v1`."""
    time = SimulatedTime()
    services = CoreServices(
        storage=InMemoryBlobStorage(now=time.now),
        events=sink,
        audit_log=audit_log,
        retention_rules=[RetentionRule(keep_last=1)],
    )
    registry = services.registry(InMemoryCatalogIndex())
    for content in (b"{}", LAYER):
        await services.push_blob(NAME, content)
    for tag, image in ((V1, IMAGE), (V2, NEWER)):
        await registry.push_manifest(NAME, image, OCI_MANIFEST, by=ALICE, tags=[tag])
        await time.advance(60)
    sink.take()
    return registry


async def test_retention_publishes_events_and_audit_records(retained, sink, audit_log):
    assert [plan.removed async for plan in retained.apply_retention(by=BOB, dry_run=True)] == [[]]
    assert (sink.take(), audit_log.events) == ([], [])
    [plan] = [plan async for plan in retained.apply_retention(by=BOB)]
    assert [state.tag for state in plan.removed] == [V1]
    assert sink.emitted == [(delete(tag=V1), Origin(actor="bob"))]
    [record] = audit_log.events
    assert (record.action, record.actor, record.reason) == (AuditAction.TAG_DELETE, "bob", "retention")
    assert (record.repository, record.tags, record.digest, record.allowed) == (NAME, (V1,), DIGEST, True)


async def test_retention_stands_if_neither_can_be_published(retained, sink, audit_log, caplog):
    sink.fails = audit_log.fails = True
    with pytest.raises(StorageUnavailableError):
        [plan async for plan in retained.apply_retention(by=BOB)]
    assert [record.audit["tags"] for record in caplog.records if hasattr(record, "audit")] == ["('v1',)"]
    with pytest.raises(ManifestUnknownError):
        await retained.manifests.resolve(NAME, V1)
    assert await retained.manifests.resolve(NAME, V2) == Digest.of(NEWER)


async def test_change_whose_event_fails_stands(registry, services, sink):
    sink.fails = True
    with pytest.raises(StorageUnavailableError):
        await registry.push_manifest(NAME, IMAGE, OCI_MANIFEST, by=ALICE, tags=[Tag("v3")])
    with pytest.raises(StorageUnavailableError):
        await services.push_blob(OTHER, LAYER)
    with pytest.raises(StorageUnavailableError):
        await registry.delete_manifest(NAME, V1, by=ALICE)
    assert await registry.manifests.resolve(NAME, Tag("v3")) == DIGEST
    assert (await services.blobs.stat(OTHER, LAYER_DIGEST)).size == len(LAYER)
    with pytest.raises(ManifestUnknownError):
        await registry.manifests.resolve(NAME, V1)


async def test_request_is_described_only_for_wanted_events(registry, services, sink):
    def describe() -> Origin:
        raise AssertionError("described without need")

    busy = Actor("alice", describe)
    sink.wanted = frozenset()
    sink.take()
    await registry.push_manifest(NAME, IMAGE, OCI_MANIFEST, by=busy, tags=[V1])
    await registry.pull_manifest(NAME, V1, by=busy)
    await services.blobs.stat(NAME, LAYER_DIGEST, pulled_by=busy)
    async with services.blobs.open(NAME, LAYER_DIGEST, pulled_by=busy):
        pass
    assert [reader.size async for reader in services.blobs.open_parts(NAME, LAYER_DIGEST, [(0, 1)], pulled_by=busy)]
    await services.blobs.mount(OTHER, LAYER_DIGEST, source=NAME, by=busy)
    await services.uploads.put(OTHER, LAYER_DIGEST, chunks(LAYER), by=busy)
    removal = await registry.delete_repository(NAME, by=busy)
    await registry.restore(removal.entry, by=busy)
    await registry.delete_manifest(NAME, DIGEST, by=busy)
    await services.blobs.unlink(OTHER, LAYER_DIGEST, by=busy)
    assert sink.take() == []
