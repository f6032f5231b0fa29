"""The page of the read-only switch, and the banner of all pages."""

import pytest

from config.settings import AuditSettings, Settings, StorageSettings
from core.coordination.read_only import ReadOnly, switch_on
from core.ports.audit_log import AuditAction
from tests.http.test_read_only_api import push_status
from tests.http.test_trash_api import ListAuditLog
from tests.http.web.conftest import Visitor

HOSTILE = "<script>alert(1)</script>"
BANNER = "The registry is read-only: images can be pulled"


async def test_switch_is_turned_on_and_off(api, visitor):
    page = await visitor.open("_read-only")
    assert "The registry accepts changes" in page.text
    page = await visitor.send(page.form("_read-only"), reason=" moving ", duration="4h")
    assert "Reason moving" in page.text
    assert "in 4 hours" in page.text
    assert await push_status(api) == 405
    # The banner is on each page.
    page = await visitor.open("_trash")
    assert BANNER in page.text
    assert "moving" in page.text
    page = await visitor.open("_read-only")
    off = next(form for form in page.forms if ("action", "off") in form.fields)
    page = await visitor.send(off)
    assert "The registry accepts changes" in page.text
    assert BANNER not in page.text
    assert await push_status(api) == 202


async def test_switch_without_an_end(visitor):
    page = await visitor.open("_read-only")
    page = await visitor.send(page.form("_read-only"), reason="moving", duration="")
    assert "Until somebody turns it off" in page.text


@pytest.mark.parametrize(("reason", "duration"), [(" ", "1h"), ("x" * 1001, "1h"), ("moving", "soon"), ("moving", "5")])
async def test_mistakes_in_the_form_are_shown(visitor, reason, duration):
    page = await visitor.open("_read-only")
    page = await visitor.send(page.form("_read-only"), reason=reason, duration=duration)
    assert page.status == 400
    assert "Give a reason" in page.text
    assert "The registry accepts changes" in page.text
    assert (await visitor.open("_read-only/x")).status == 404


async def test_configuration_is_told_apart_from_the_switch(start):
    storage = StorageSettings(readonly_enabled=True, readonly_reason="a standby")
    visitor = Visitor(await start(Settings(storage=storage)))
    page = await visitor.open("_read-only")
    assert "Read-only by the configuration" in page.text
    assert page.text.count("a standby") == 2
    assert "Read-only by the switch" not in page.text
    page = await visitor.send(page.form("_read-only"), reason="moving", duration="1h")
    assert "Read-only by the switch" in page.text


async def test_rights_and_audit(start_with_users):
    log = ListAuditLog()
    visitor = Visitor(await start_with_users(audit_log=log, settings=Settings(audit=AuditSettings(stdout=True))))
    await visitor.sign_in("bob", "b")
    assert (await visitor.open("_read-only")).status == 403
    token = dict((await visitor.open()).form("_sign-out").fields)["form_token"]
    assert (await visitor.post("_read-only", [("form_token", token), ("reason", "x")])).status == 403
    await visitor.sign_in("alice", "secret")
    page = await visitor.open("_read-only")
    page = await visitor.send(page.form("_read-only"), reason="moving", duration="1h")
    assert "Turned on by alice" in page.text
    await visitor.send(next(form for form in page.forms if ("action", "off") in form.fields))
    found = [event for event in log.events if event.action in {AuditAction.READONLY_ON, AuditAction.READONLY_OFF}]
    assert [(event.action, event.actor, event.allowed, event.reason) for event in found] == [
        (AuditAction.READONLY_ON, "bob", False, ""),
        (AuditAction.READONLY_ON, "alice", True, "moving"),
        (AuditAction.READONLY_OFF, "alice", True, ""),
    ]


async def test_hostile_reason_is_shown_as_text(visitor, services):
    await switch_on(services.storage, ReadOnly(reason=HOSTILE, by=HOSTILE))
    page = await visitor.open("_read-only")
    assert "<script>alert" not in page.html
    # In the banner, and with its author in the state.
    assert page.text.count(HOSTILE) == 3


async def test_banner_shows_no_reason_that_nobody_gave(visitor, services):
    await switch_on(services.storage, ReadOnly())
    await visitor.open("_read-only")
    page = await visitor.open("_trash")
    assert BANNER in page.text
    assert ReadOnly().reason not in page.text
