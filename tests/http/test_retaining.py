"""Retention runs while requests are served."""

import json
import logging
from datetime import timedelta

import pytest
from typing_extensions import override

from adapters.audit_log.file import FileAuditLog
from adapters.blob_storage.memory import InMemoryBlobStorage
from core.coordination.lease import Lease
from core.coordination.schedule import SharedSchedule
from core.model import media_types
from core.model.digest import Digest
from core.model.events import Actor, EventAction, Occurrence, Origin
from core.model.names import RepositoryName, Tag
from core.retention.pulls import PullRecorder
from core.retention.rules import RetentionRule
from core.store import layout
from entrypoints.jobs.retention import FLUSH_SECONDS, pull_recording_job, retention_hooks, retention_job
from entrypoints.jobs.shared import LOOK_SECONDS
from tests.http.conftest import build_registry
from tests.http.test_events import CollectingSink
from tests.support.content import image_manifest
from tests.support.core_services import CoreServices, counting_ids
from tests.support.invariants import tags_of
from tests.support.simulated_time import SimulatedTime

NAME = RepositoryName("team/app")
IMAGES = [image_manifest(b"{}", annotations={"number": str(number)}) for number in range(3)]
DAY = 24 * 3600.0
BOB = Actor("bob")


@pytest.fixture
def time():
    return SimulatedTime()


@pytest.fixture
async def services(time):
    storage = InMemoryBlobStorage(now=time.now)
    services = CoreServices(storage=storage, retention_rules=[RetentionRule(keep_last=1)])
    await services.push_blob(NAME, b"{}")
    for number, image in enumerate(IMAGES):
        await services.manifests.put(NAME, image, media_types.OCI_MANIFEST, tags=[Tag(f"v{number}")])
        await time.advance(60)
    return services


def make_job(services, time, owner_id="a", *, interval=DAY):
    lease = Lease(
        services.storage, layout.lease("r"), owner_id=lambda: owner_id, ttl=30, clock=time.clock, sleep=time.sleep
    )
    schedule = SharedSchedule(services.storage, lease, key=layout.job("r"), interval=timedelta(seconds=interval))
    return retention_job(build_registry(services), schedule, interval_seconds=interval)


async def test_audit_log_records_each_tag(services, time, tmp_path):
    async with FileAuditLog(tmp_path / "audit.jsonl") as audit_log:
        services.publisher = CoreServices(audit_log=audit_log).publisher
        await make_job(services, time).run()
    events = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert sorted(event["tags"] for event in events) == [["v0"], ["v1"]]
    for event in events:
        assert (event["action"], event["repository"], event["actor"]) == ("tag.delete", NAME, "the server")
        assert event["reason"] == "retention"


async def test_one_replica_deletes_and_publishes_events(services, time, caplog):
    with caplog.at_level(logging.INFO):
        for owner_id in "ab":
            await make_job(services, time, owner_id).run()
    assert await tags_of(services, NAME) == ["v2"]
    gone = [record.tag for record in caplog.records if record.message == "tag deleted by retention"]
    assert sorted(gone) == ["v0", "v1"]
    assert await services.storage.read(layout.job("r")) == b'{"repositories": 1, "tags": 3, "deleted": 2}'


async def test_replicas_search_at_different_moments_and_wait_while_read_only(services, time):
    job = make_job(services, time)
    assert job.every == LOOK_SECONDS
    assert job.is_upkeep
    delays = {job.delay() for _ in range(20)}
    assert len(delays) > 10
    assert all(0 <= delay <= LOOK_SECONDS for delay in delays)
    assert make_job(services, time, interval=5).every == 5


async def test_pulls_are_written_by_every_process_and_at_its_end(services, time):
    recorder = PullRecorder(services.storage, clock=time.clock, new_id=counting_ids())
    job = pull_recording_job(recorder)
    assert job.every == FLUSH_SECONDS
    await job.run()
    recorder.note(NAME, Digest.of(IMAGES[0]))
    await job.finish()
    pulls = await services.pulls.read(oldest=timedelta(days=1), merges=False)
    assert pulls.last(NAME, Digest.of(IMAGES[0])) is not None


class NotingRecorder(PullRecorder):
    def __init__(self, storage, told):
        super().__init__(storage, clock=lambda: 0.0, new_id=counting_ids())
        self._told = told

    @override
    def note(self, name, digest):
        self._told.append((name, digest))


async def test_pull_is_recorded_by_digest(start, services):
    told: list[tuple[str, str]] = []
    await services.push_blob(NAME, b"{}")
    services.pull_recorder = NotingRecorder(services.storage, told)
    api = await start()
    await api.push_blob(NAME, b"{}")
    await api.push_manifest(NAME, "v1", IMAGES[0], media_types.OCI_MANIFEST)
    assert told == []
    for method, reference in (("GET", "v1"), ("HEAD", "v1"), ("GET", Digest.of(IMAGES[0])), ("GET", "missing")):
        async with api.request(method, f"/v2/{NAME}/manifests/{reference}"):
            pass
    assert told == [(NAME, Digest.of(IMAGES[0]))] * 3


async def test_deletions_by_the_registry_itself_are_published(services, time):
    sink = CollectingSink()
    services.publisher = CoreServices(events=sink).publisher
    registry = build_registry(services)
    await make_job(services, time).run()
    assert sorted(event.tag for event in sink.occurrences()) == ["v0", "v1"]
    await registry.restore("team/app:v0", by=BOB)
    [(back, origin)] = sink.take()
    assert (back.action, back.repository, back.tag) == (EventAction.PUSH, NAME, "v0")
    assert (back.digest, back.size, back.media_type) == (Digest.of(IMAGES[0]), len(IMAGES[0]), media_types.OCI_MANIFEST)
    assert origin == Origin(actor="bob")
    await registry.delete_repository(NAME, by=BOB)
    assert sink.occurrences() == [Occurrence(action=EventAction.DELETE, repository=NAME)]
    sink.wanted = frozenset()
    await registry.restore("team/app:v2", by=BOB)
    assert sink.take() == []


async def test_collection_applies_the_rules_first_if_there_are_any(services, time):
    assert retention_hooks(build_registry(CoreServices()), by=BOB) == ()
    registry = build_registry(services)
    [hook] = retention_hooks(registry, by=BOB)
    await hook()
    assert await tags_of(services, NAME) == ["v2"]
    assert {removal.entry.by async for removal in registry.trash.removals()} == {"bob"}
