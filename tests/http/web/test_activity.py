"""The activity page: the audit log, newest first."""

from datetime import timedelta

import pytest

from adapters.audit_log.file import FileAuditLog
from config.settings import AuditSettings, Settings
from core.ports.audit_log import AuditAction
from tests.contracts.audit_log_contract import AT, event
from tests.http.web.conftest import ROOT, Visitor
from tests.http.web.pushing import push_as


@pytest.fixture
async def log(tmp_path):
    async with FileAuditLog(tmp_path / "audit.jsonl") as log:
        yield log


@pytest.fixture
async def visitor(start, log):
    return Visitor(await start(Settings(audit=AuditSettings(file=log.name)), audit_log=log))


async def test_changes_appear_newest_first(visitor):
    await push_as(visitor.api, "team/app", "v1", "v2")
    page = await visitor.open("_activity")
    assert page.text.index("v2") < page.text.index("v1")
    assert "Manifest pushed" in page.text
    assert f"{ROOT}team/app" in page.links
    assert "Pulls are not recorded" in page.text


async def test_filters_select_events(visitor, log):
    await log.record(event(actor="alice", repository="one", allowed=True, status=201))
    await log.record(event(actor="bob", repository="two/x", action=AuditAction.TAG_DELETE, allowed=True, status=202))
    await log.record(event(claimed="eve", repository="three", allowed=False, status=401))
    page = await visitor.open("_activity?user=alice")
    assert (f"{ROOT}one" in page.links, f"{ROOT}two/x" in page.links) == (True, False)
    page = await visitor.open("_activity?repository=two/")
    assert f"{ROOT}two/x" in page.links
    assert f"{ROOT}one" not in page.links
    page = await visitor.open("_activity?action=tag.delete")
    assert f"{ROOT}two/x" in page.links
    assert f"{ROOT}one" not in page.links
    page = await visitor.open("_activity?user=eve")
    assert "claims to be eve" in page.text
    assert "refused" in page.text
    assert "No action of this kind" in (await visitor.open("_activity?user=nobody")).text
    assert f"{ROOT}one" in (await visitor.open("_activity?action=unknown")).links


async def test_log_has_pages(visitor, log):
    for number in range(150):
        await log.record(event(at=AT + timedelta(seconds=number), repository=f"r{number}"))
    page = await visitor.open("_activity")
    assert f"{ROOT}r50" in page.links
    assert f"{ROOT}r49" not in page.links
    page = await visitor.open(next(link for link in page.links if "before=" in link))
    assert f"{ROOT}r49" in page.links
    assert f"{ROOT}r0" in page.links
    assert "Newest" in page.text
    assert "No older actions" in (await visitor.open("_activity?before=1-0")).text


async def test_details_of_events_are_shown(visitor, log):
    await log.record(event(tags=tuple(f"t{number}" for number in range(8)), source="base", reason="retention"))
    await log.record(event(action=AuditAction.COMMAND, command="registry trash empty", status=3))
    await log.record(event(action=AuditAction.TRASH_RESTORE, entry="20261129T1-x", status=500, error="UNKNOWN"))
    page = await visitor.open("_activity")
    for text in ("and 3 more", "from base", "retention", "registry trash empty", "20261129T1-x", "UNKNOWN", "failed"):
        assert text in page.text
    assert "t5" not in page.text


async def test_empty_log_is_explained(start, log):
    page = await Visitor(await start(Settings(audit=AuditSettings(file=log.name)), audit_log=log)).open("_activity")
    assert "Nothing is recorded yet" in page.text


async def test_page_shows_how_to_turn_the_log_on(start):
    assert "is turned off" in (await Visitor(await start()).open("_activity")).text
    page = await Visitor(await start(Settings(audit=AuditSettings(stdout=True)))).open("_activity")
    assert "goes to standard output" in page.text
    assert "audit: {file: /var/log/registry/audit.jsonl}" in page.text


async def test_unreadable_log_is_explained(start, tmp_path):
    log = FileAuditLog(tmp_path)
    page = await Visitor(await start(Settings(audit=AuditSettings()), audit_log=log)).open("_activity")
    assert page.status == 200
    assert "it is not a file" in page.text


async def test_page_is_for_operators(start_with_users):
    visitor = Visitor(await start_with_users())
    assert (await visitor.open("_activity")).path == f"{ROOT}_sign-in?next=_activity"
    await visitor.sign_in("bob", "b")
    assert (await visitor.open("_activity")).status == 403
    await visitor.sign_in("alice", "secret")
    assert (await visitor.open("_activity")).status == 200


async def test_hostile_texts_are_shown_as_text(visitor, log):
    hostile = '<script>alert(1)</script>"'
    names = ("actor", "login", "repository", "digest", "source", "client", "error", "command", "entry")
    texts = dict.fromkeys(names, hostile)
    await log.record(event(**texts, tags=(hostile,), reason=hostile))
    for path in ("_activity", "_activity?user=%3Cscript%3Ealert(1)%3C/script%3E%22"):
        page = await visitor.open(path)
        assert "<script>alert" not in page.html
        assert hostile in page.text


async def test_texts_are_chinese_on_request(visitor):
    visitor.language = "zh"
    assert "还没有操作记录" in (await visitor.open("_activity")).text
