"""Storage use, and the collection that frees space."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from config.settings import AuditSettings, GarbageCollectionSettings, Settings, StorageSettings
from core.coordination.read_only import ReadOnly, switch_on
from core.model.names import RepositoryName
from core.ports.audit_log import AuditAction, Stage
from core.store import layout
from core.usage.measurement import Amount, CollectableUsage, Measurement, RepositoryUsage, StoreUsage, TrashUsage
from core.usage.records import UsageRecords
from tests.http.conftest import job_control, operations_on
from tests.http.test_trash_api import ListAuditLog
from tests.http.web.conftest import ROOT, Visitor

AT = datetime(2026, 11, 29, 20, tzinfo=UTC)
MIB = 1024 * 1024


def measurement(*names, **changes):
    store = StoreUsage(
        measured_at=AT,
        seconds=1.0,
        blobs=Amount(count=9, size=210 * MIB),
        unlinked=Amount(count=1, size=3 * MIB),
        trash=TrashUsage(entries=2, blobs=Amount(count=1, size=30 * MIB)),
        collectable=CollectableUsage(
            manifests=3, blobs=Amount(count=5, size=40 * MIB), grace_seconds=3600, deletes_untagged=False
        ),
    )
    return Measurement(
        store=replace(store, **changes),
        repositories=[
            RepositoryUsage(name=RepositoryName(name), blobs=2, own=(1000 - place) * MIB, shared=MIB)
            for place, name in enumerate(names)
        ],
    )


class Work:
    """A collection that ends when the test permits it."""

    def __init__(self):
        self.gate = asyncio.Event()
        self.runs = 0

    async def __call__(self):
        self.runs += 1
        await self.gate.wait()
        return {"bytes_removed": 5 * MIB, "blobs_removed": 7}


@pytest.fixture
async def work():
    work = Work()
    yield work
    work.gate.set()


@pytest.fixture
def start_with(start, services, work):
    async def start_one(settings=None, **options):
        operations = replace(operations_on(services), collection=job_control(services, "collection", work))
        return Visitor(await start(settings, operations=operations, **options))

    return start_one


async def save(visitor, *names, **changes):
    await UsageRecords(visitor.api.services.storage).save(measurement(*names, **changes))


async def test_measurement_starts_and_is_shown(visitor):
    page = await visitor.open("_usage")
    assert "No measurement yet" in page.text
    page = await visitor.send(page.form("_usage"))
    assert page.status == 200
    while "What takes the space" not in page.text:
        page = await visitor.open("_usage")
    assert "Unfinished uploads" not in page.text


async def test_repositories_are_listed_with_bars_and_pages(visitor):
    await save(visitor, *(f"team/r{number:03}" for number in range(101)))
    page = await visitor.open("_usage")
    assert "1000.0 MiB" in page.text
    assert f'max="{1000 * MIB}" value="{999 * MIB}"' in page.html
    assert f"{ROOT}team/r099" in page.links
    assert f"{ROOT}team/r100" not in page.links
    page = await visitor.open(next(link for link in page.links if "last=" in link))
    assert f"{ROOT}team/r100" in page.links
    assert f"{ROOT}team/r000" not in page.links
    assert "First page" in page.text
    assert (await visitor.open("_usage?last=zzz")).status == 200


async def test_rare_parts_are_shown_if_they_take_space(visitor):
    some = Amount(count=1, size=MIB)
    await save(visitor, quarantined=some, uploads=some, transfers=some, cached=some)
    page = await visitor.open("_usage")
    for text in ("Damaged content", "Unfinished uploads", "Copies in progress", "cached repositories only"):
        assert text in page.text
    assert "No repository has content" in page.text


async def test_second_measurement_is_not_started(start, services, work):
    operations = replace(operations_on(services), usage=job_control(services, "usage", work, is_upkeep=False))
    visitor = Visitor(await start(operations=operations))
    form = (await visitor.open("_usage")).form("_usage")
    await visitor.send(form)
    page = await visitor.send(form)
    assert "A measurement is running" in page.text
    assert not page.has_form("_usage")
    assert work.runs == 1


async def test_effect_of_a_collection_is_explained(start_with):
    visitor = await start_with()
    assert "is not known" in (await visitor.open("_collection")).text
    await save(visitor)
    page = await visitor.open("_collection")
    assert "40.0 MiB in 5 blobs, and 3 manifests" in page.text
    assert "Nov 29, 2026, 7:00:00" in page.text
    assert "Manifests without a tag stay" in page.text
    assert "The trash holds 30.0 MiB besides" in page.text
    assert "can be restored until this time" in page.text
    await save(visitor, collectable=None)
    assert "did not compute the effect" in (await visitor.open("_collection")).text


async def test_settings_change_what_a_collection_does(start_with):
    storage = StorageSettings(trash_keep_seconds=0, garbage_collection=GarbageCollectionSettings(enabled=True))
    visitor = await start_with(Settings(storage=storage))
    effect = CollectableUsage(manifests=0, blobs=Amount(), grace_seconds=0, deletes_untagged=True)
    await save(visitor, collectable=effect, trash=TrashUsage())
    page = await visitor.open("_collection")
    assert "The trash is turned off" in page.text
    assert "Nothing: at the last measurement" in page.text
    await save(visitor, collectable=replace(effect, manifests=1))
    page = await visitor.open("_collection")
    assert "Manifests without a tag are included" in page.text
    assert "was pushed after this time" not in page.text
    collection = GarbageCollectionSettings(enabled=True, dry_run=True)
    visitor = await start_with(Settings(storage=StorageSettings(garbage_collection=collection)))
    assert "only report" in (await visitor.open("_collection")).text


async def test_collection_starts_after_a_confirmation_and_shows_its_end(start_with, work):
    log = ListAuditLog()
    settings = Settings(audit=AuditSettings(stdout=True, required=True))
    visitor = await start_with(settings, audit_log=log)
    page = await visitor.send((await visitor.open("_collection")).form("_collection"))
    assert work.runs == 1
    assert "A collection is running" in page.text
    assert not page.has_form("_collection")
    assert "A collection is running" in (await visitor.open("_usage")).text
    work.gate.set()
    while "Last run" not in page.text:
        page = await visitor.open("_collection")
    assert "5.0 MiB removed, in 7 blobs" in page.text
    asked, done = [event for event in log.events if event.action is AuditAction.COLLECTION_START]
    assert (asked.stage, done.stage, done.status) == (Stage.ASKED, Stage.DONE, 303)


async def test_second_collection_is_not_started(start_with, work):
    visitor = await start_with()
    form = (await visitor.open("_collection")).form("_collection")
    await visitor.send(form)
    page = await visitor.send(form)
    assert page.status == 200
    assert "A collection is running" in page.text
    assert work.runs == 1


async def test_read_only_registry_refuses_a_collection(start_with, work):
    visitor = await start_with(Settings(storage=StorageSettings(readonly_upkeep=False)))
    form = (await visitor.open("_collection")).form("_collection")
    await switch_on(visitor.api.services.storage, ReadOnly(reason="moving house"))
    # The next process reads the switch at its first request.
    visitor.api = (await start_with(Settings(storage=StorageSettings(readonly_upkeep=False)))).api
    page = await visitor.open("_collection")
    assert "No collection can start now: moving house" in page.text
    assert not page.has_form("_collection")
    assert (await visitor.send(form)).status == 405
    assert work.runs == 0


async def test_pages_are_for_operators(start_with_users):
    visitor = Visitor(await start_with_users())
    for path in ("_usage", "_collection"):
        assert (await visitor.open(path)).path == f"{ROOT}_sign-in?next={path}"
    home = await visitor.sign_in("bob", "b")
    assert f"{ROOT}_usage" not in home.links
    token = dict(home.form("_preferences").fields)["form_token"]
    for path in ("_usage", "_collection"):
        assert (await visitor.open(path)).status == 403
        assert (await visitor.post(path, [("form_token", token)])).status == 403
    await visitor.sign_in("alice", "secret")
    assert (await visitor.open("_usage")).has_form("_usage")


async def test_records_of_other_programs_are_shown_as_text(start_with, services):
    visitor = await start_with()
    hostile = "<script>alert(1)</script>"
    await services.storage.write(layout.job("collection"), json.dumps({"bytes_removed": hostile}).encode())
    await services.storage.write(layout.lease("collection"), json.dumps({"owner": hostile, "progress": {}}).encode())
    page = await visitor.open("_collection")
    assert page.status == 200
    assert "<script>alert" not in page.html
    assert hostile in page.text


async def test_texts_are_chinese_on_request(visitor):
    visitor.language = "zh"
    assert "尚无统计结果" in (await visitor.open("_usage")).text
    assert "开始垃圾回收" in (await visitor.open("_collection")).text
