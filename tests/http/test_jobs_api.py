"""`/v2/_sohu/registry/collection` and `/v2/_sohu/registry/verification`."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from adapters.audit_log.stream import DisabledAuditLog
from adapters.auth.open import OpenAuthenticator
from adapters.blob_storage.memory import InMemoryBlobStorage
from config.container import Observers, build_server, build_server_parts
from config.settings import AuditSettings, Settings, StorageSettings
from core.errors import StorageUnavailableError
from core.model.access import ADMINISTRATION, OPEN, AccessPolicy, Rule, RuleAction
from core.model.times import time_text
from core.ports.audit_log import AuditAction, Stage
from core.store import layout
from core.verification.findings import Finding, Kind
from core.verification.journal import Checkpoint
from entrypoints.http.app import create_app
from entrypoints.http.authentication import accesses_of
from entrypoints.http.operations import operations_of
from entrypoints.http.routes import match
from entrypoints.opening import opened
from tests.http.conftest import SECRET, build_registry, job_control, operations_on
from tests.http.test_trash_api import ListAuditLog, ask, get
from tests.support.core_services import NOW, CoreServices
from tests.support.faulty_blob_storage import FaultyBlobStorage
from tests.support.links import links_of
from tests.support.simulated_time import SimulatedTime

COLLECTION = "/v2/_sohu/registry/collection"
VERIFICATION = "/v2/_sohu/registry/verification"
START = {"action": "start"}
IDLE = {"running": False, "by": None, "progress": None, "last": None, "next": None}


class Work:
    """Work that ends when the test permits it."""

    def __init__(self):
        self.gate = asyncio.Event()
        self.runs = 0
        self.error = None

    async def __call__(self):
        self.runs += 1
        await self.gate.wait()
        if self.error:
            raise self.error
        return {"blobs_removed": self.runs, "phase": "done"}


@pytest.fixture
def work():
    return Work()


@pytest.fixture
def start_with(start, services):
    async def start_one(work, settings=None, owner="test", **options):
        control = job_control(services, "collection", work, owner=owner)
        return await start(settings, operations=replace(operations_on(services), collection=control), **options)

    return start_one


async def post(api, path=COLLECTION):
    async with api.request("POST", path, json=START) as response:
        return response.status, await response.json()


async def finished(api, path=COLLECTION):
    """Wait for the end of the run, and return the state after it."""
    while True:
        state, _ = await get(api, path)
        if not state["running"]:
            return state


async def test_run_goes_on_after_the_answer(start_with, work):
    api = await start_with(work)
    assert (await get(api, COLLECTION))[0] == IDLE
    status, state = await post(api)
    assert (status, state["running"], state["by"], state["last"]) == (202, True, "test", None)
    work.gate.set()
    state = await finished(api)
    assert state["last"] == {"when": time_text(NOW), "report": {"blobsRemoved": 1, "phase": "done"}}
    assert state["next"] == time_text(NOW + timedelta(hours=1))
    # A start does not wait for the interval of the schedule.
    assert (await post(api))[0] == 202
    assert (await finished(api))["last"]["report"]["blobsRemoved"] == 2


async def test_second_run_is_refused_here_and_at_another_replica(start_with, work):
    one, other = await start_with(work, owner="one"), await start_with(work, owner="other")
    assert (await post(one))[0] == 202
    for api in (one, other):
        assert (await get(api, COLLECTION))[0]["by"] == "one"
        status, refusal = await post(api)
        assert (status, refusal["errors"][0]["code"], refusal["errors"][0]["detail"]) == (409, "DENIED", {"by": "one"})
    work.gate.set()
    await finished(one)
    assert work.runs == 1
    assert (await post(other))[0] == 202


async def test_failed_run_is_logged_and_another_can_start(start_with, work, caplog):
    api = await start_with(work)
    work.error = StorageUnavailableError("no answer")
    work.gate.set()
    assert (await post(api))[0] == 202
    assert (await finished(api))["last"] is None
    assert "collection started by a request failed: no answer" in caplog.text
    work.error = None
    assert (await post(api))[0] == 202


async def test_failing_store_starts_nothing(start, services, work):
    storage = FaultyBlobStorage(services.storage)
    control = job_control(CoreServices(storage=storage), "collection", work)
    api = await start(operations=replace(operations_on(services), collection=control))
    storage.stop_after(0)
    assert await ask(api, "POST", COLLECTION, json=START) == (503, ["UNAVAILABLE"])
    storage.heal()
    assert work.runs == 0
    assert (await post(api))[0] == 202


async def test_lease_of_a_dead_process_is_taken_over(work):
    time = SimulatedTime()
    services = CoreServices(storage=InMemoryBlobStorage(now=time.now))
    await services.storage.write(layout.lease("collection"), b'{"owner": "dead", "counter": 1}')
    control = job_control(services, "collection", work, clock=time.clock, sleep=time.sleep)
    assert (await control.state()).holder == "dead"
    await time.advance(61)
    assert (await control.state()).holder is None
    running = asyncio.ensure_future(control.background.run())
    starting = asyncio.create_task(control.start())
    await time.advance(30)
    await starting
    assert (await control.state()).holder == "test"
    work.gate.set()
    await running
    assert work.runs == 1


async def test_run_ends_with_the_process_and_frees_the_lease(services, work):
    operations = replace(operations_on(services), collection=job_control(services, "collection", work))
    app = create_app(
        build_registry(services),
        Settings(),
        authenticator=OpenAuthenticator(),
        policy=OPEN,
        upload_secret=SECRET,
        now=lambda: NOW,
        audit_log=DisabledAuditLog(),
        operations=operations,
    )
    async with TestClient(TestServer(app)) as client, client.post(COLLECTION, json=START) as response:
        assert response.status == 202
    keys = await services.keys()
    assert layout.lease("collection") not in keys
    assert layout.job("collection") not in keys


@pytest.mark.parametrize("path", [COLLECTION, VERIFICATION])
@pytest.mark.parametrize("body", [{}, [], {"action": "stop"}, START | {"dryRun": True}], ids=str)
async def test_other_bodies_are_refused(api, path, body):
    assert await ask(api, "POST", path, json=body) == (400, ["UNSUPPORTED"])
    assert await ask(api, "POST", path, data=START) == (400, ["UNSUPPORTED"])
    assert (await get(api, path))[0]["running"] is False


async def test_start_is_refused_while_upkeep_waits(start):
    storage = StorageSettings(readonly_enabled=True, readonly_reason="moving", readonly_upkeep=False)
    api = await start(Settings(storage=storage))
    assert await ask(api, "POST", COLLECTION, json=START) == (405, ["UNSUPPORTED"])
    # A verification without repairs changes nothing.
    assert (await post(api, VERIFICATION))[0] == 202
    api = await start(Settings(storage=replace(storage, readonly_upkeep=True)))
    assert (await post(api))[0] == 202


async def test_right_to_administer_is_required(start):
    every = tuple(action for action in RuleAction if action is not RuleAction.ADMIN)
    users = await start(policy=AccessPolicy(rules=(Rule(who=("anonymous",), actions=every),)))
    operators = await start(policy=AccessPolicy(rules=(Rule(who=("anonymous",), actions=(RuleAction.ADMIN,)),)))
    for path in (COLLECTION, VERIFICATION):
        for method in ("GET", "POST"):
            assert await ask(users, method, path, json=START) == (403, ["DENIED"])
            assert accesses_of(match(path), method, None) == (ADMINISTRATION,)
        assert (await get(operators, path))[0]["running"] is False
        assert (await post(operators, path))[0] == 202


async def test_start_is_audited_before_it_happens(start_with, work):
    log = ListAuditLog()
    work.gate.set()
    api = await start_with(work, Settings(audit=AuditSettings(stdout=True, required=True)), audit_log=log)
    await post(api)
    await post(api, VERIFICATION)
    assert [(event.action, event.stage) for event in log.events] == [
        (action, stage)
        for action in (AuditAction.COLLECTION_START, AuditAction.VERIFICATION_START)
        for stage in (Stage.ASKED, Stage.DONE)
    ]
    await finished(api)
    log.is_broken = True
    assert await ask(api, "POST", COLLECTION, json=START) == (503, ["UNAVAILABLE"])
    assert work.runs == 1


async def test_findings_are_shown_page_by_page(start, services):
    operations = operations_on(services)
    api = await start(operations=operations)
    assert (await get(api, VERIFICATION))[0] == IDLE | {"checkpoint": None, "findings": []}
    keys = [f"/{number}" for number in range(5)]
    checkpoint = Checkpoint(blobs=7, damage=5, left=5)
    for some in (keys[:3], keys[3:]):
        findings = [Finding(kind=Kind.CORRUPT_DATA, key=key, detail="damaged") for key in some]
        await operations.findings.save(checkpoint, findings)
    found, document = [], {}
    path: str | None = f"{VERIFICATION}?n=2"
    while path:
        document, link = await get(api, path)
        assert len(document["findings"]) <= 2
        found += [finding["key"] for finding in document["findings"]]
        path = links_of(link).get("next")
    assert found == keys
    assert document["checkpoint"] == {
        "phase": "data",
        "complete": False,
        "blobs": 7,
        "bytes": 0,
        "repositories": 0,
        "manifests": 0,
        "damage": 5,
        "left": 5,
        "notes": 0,
    }
    assert await ask(api, "GET", f"{VERIFICATION}?last=x") == (400, ["PAGINATION_NUMBER_INVALID"])


async def test_server_collects_and_verifies_on_request():
    """The whole server, on a store in memory."""
    built = build_server(build_server_parts(Settings()), Observers())
    app = create_app(
        built.registry,
        built.settings,
        authenticator=built.authenticator,
        policy=built.policy,
        upload_secret=SECRET,
        now=built.now,
        audit_log=built.audit_log,
        operations=operations_of(built),
        lifetimes=[opened(built)],
    )
    async with TestClient(TestServer(app)) as client:
        for path, count in ((COLLECTION, "blobsRemoved"), (VERIFICATION, "damage")):
            async with client.post(path, json=START) as response:
                assert response.status == 202
            state: dict[str, Any] = {"running": True}
            while state["running"]:
                async with client.get(path) as response:
                    state = await response.json()
            assert state["last"]["report"][count] == 0
            assert state["next"] is None
            assert path == COLLECTION or state["checkpoint"]["complete"]
