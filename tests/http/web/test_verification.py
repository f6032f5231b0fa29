"""The pages of the verification."""

import asyncio
from dataclasses import replace

import pytest

from config.settings import AuditSettings, Settings, StorageSettings
from core.ports.audit_log import AuditAction
from core.verification.findings import Finding, Kind, Outcome, VerificationPhase
from core.verification.journal import Checkpoint
from tests.http.conftest import job_control, operations_on
from tests.http.test_trash_api import ListAuditLog
from tests.http.web.conftest import Visitor
from tests.support.core_services import NOW

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def operations(services):
    return operations_on(services)


@pytest.fixture
async def visitor(start, operations):
    return Visitor(await start(operations=operations, now=lambda: NOW))


async def ended(visitor):
    """Wait for the end of the run, and return the page after it."""
    while True:
        page = await visitor.open("_verification")
        if "Not running" in page.text:
            return page


async def test_nothing_was_verified_yet(visitor):
    page = await visitor.open("_verification")
    assert page.status == 200
    assert "Never run" in page.text
    assert "Nothing was verified yet" in page.text


async def test_run_is_started_after_a_question(visitor):
    page = await visitor.open("_verification")
    assert not page.has_form("_verification")
    page = await visitor.open(next(link for link in page.links if link.endswith("/start")))
    assert "which can take hours" in page.text
    page = await visitor.send(page.form("_verification"))
    assert page.path == "/ui/_verification"
    page = await ended(visitor)
    assert "Next run in 1 hour" in page.text


async def test_running_verification_shows_its_progress_and_refuses_another(start, services):
    gate = asyncio.Event()

    async def work():
        await gate.wait()
        return {}

    control = job_control(services, "verification", work, is_upkeep=True)
    visitor = Visitor(await start(operations=replace(operations_on(services), verification=control)))
    form = (await visitor.open("_verification/start")).form("_verification")
    page = await visitor.send(form)
    assert "Running" in page.text
    assert "<progress" in page.html
    assert not any(link.endswith("/start") for link in page.links)
    assert (await visitor.send(form)).status == 409
    gate.set()
    # By the clock of this registry, the next run is overdue.
    assert "Next run soon" in (await ended(visitor)).text


async def test_no_damage(visitor, operations):
    await operations.findings.save(Checkpoint(blobs=3, blob_bytes=2048))
    assert "No damage found so far" in (await visitor.open("_verification")).text
    await operations.findings.finish(Checkpoint(blobs=3, blob_bytes=2048))
    page = await visitor.open("_verification")
    assert "No damage found" in page.text
    assert "2.0 KiB · 3 blobs" in page.text
    assert "The last verification read 2.0 KiB" in (await visitor.open("_verification/start")).text


async def test_findings_are_a_table_with_remedies_page_by_page(visitor, operations):
    findings = [
        Finding(kind=kind, key=f"/key/{kind}", detail=f"<{kind}>", repository="team/app", images=("team/app:v1",))
        for kind in Kind
    ]
    findings += [
        Finding(kind=Kind.CORRUPT_DATA, key=f"/{number}", detail="x", outcome=outcome, images=("a:1",) * 7)
        for outcome in Outcome
        for number in range(6)
    ]
    checkpoint = Checkpoint(phase=VerificationPhase.ORPHANS, damage=9, left=7)
    await operations.findings.save(checkpoint, findings)
    page = await visitor.open("_verification")
    for text in ("Damaged data", "Push the image again.", "garbage collection removes it", "registry verify --repair"):
        assert text in page.text
    assert "7 not repaired" in page.text
    assert "team/app:v1" in page.text
    # Each kind has a name of its own.
    assert not [kind for kind in Kind if f" {kind} " in page.text]
    second = await visitor.open(next(link for link in page.links if "last=" in link))
    assert "and 2 more" in second.text
    assert "repaired" in second.text
    assert "Back to the first page" in second.text
    assert (await visitor.open("_verification?last=x")).status == 400
    assert (await visitor.open("_verification/x")).status == 404


async def test_repairs_wait_while_the_registry_is_read_only(start, services):
    storage = StorageSettings(readonly_enabled=True, readonly_upkeep=False)
    control = job_control(services, "verification", is_upkeep=True)
    operations = replace(operations_on(services), verification=control)
    visitor = Visitor(await start(Settings(storage=storage), operations=operations))
    page = await visitor.open("_verification/start")
    assert "It repairs what it can" in page.text
    assert (await visitor.send(page.form("_verification"))).status == 405


async def test_rights_and_audit(start_with_users):
    log = ListAuditLog()
    visitor = Visitor(await start_with_users(audit_log=log, settings=Settings(audit=AuditSettings(stdout=True))))
    await visitor.sign_in("bob", "b")
    assert (await visitor.open("_verification")).status == 403
    token = dict((await visitor.open()).form("_sign-out").fields)["form_token"]
    assert (await visitor.post("_verification", [("form_token", token)])).status == 403
    await visitor.sign_in("alice", "secret")
    page = await visitor.open("_verification/start")
    await visitor.send(page.form("_verification"))
    await ended(visitor)
    found = [event for event in log.events if event.action is AuditAction.VERIFICATION_START]
    assert [(event.actor, event.allowed) for event in found] == [("bob", False), ("alice", True)]


async def test_hostile_texts_are_shown_as_text(visitor, operations):
    finding = Finding(kind=Kind.LEFTOVER, key=HOSTILE, detail=HOSTILE, repository="a", images=(HOSTILE,))
    await operations.findings.save(Checkpoint(), [finding])
    page = await visitor.open("_verification")
    assert "<script>alert" not in page.html
    assert page.text.count(HOSTILE) == 3


async def test_verification_speaks_chinese(visitor, operations):
    await operations.findings.save(Checkpoint(), [Finding(kind=Kind.ORPHAN, key="/k", detail="x")])
    visitor.language = "zh"
    assert "垃圾回收会将其删除" in (await visitor.open("_verification")).text
