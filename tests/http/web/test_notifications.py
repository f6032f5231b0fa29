"""The page of the notifications."""

from dataclasses import replace

from config.settings import AuditSettings, Settings
from core.ports.audit_log import AuditAction
from entrypoints.http.handlers import notifications
from tests.http.conftest import operations_on
from tests.http.test_notifications_api import kill, outbox  # noqa: F401 - a fixture
from tests.http.test_trash_api import ListAuditLog
from tests.http.web.conftest import Visitor
from tests.support.notifications import make_event


async def test_queues_are_shown_and_dead_events_are_delivered_again(visitor, outbox, monkeypatch):  # noqa: F811
    monkeypatch.setattr(notifications, "REPLAYED_MAX", 2)
    await kill(outbox, "former", 3)
    await outbox.record({"configured": [make_event("1"), make_event("2")]})
    page = await visitor.open("_notifications")
    assert page.status == 200
    assert "configured 2 oldest" in page.text
    assert "former not configured 0 3 oldest" in page.text
    assert len([form for form in page.forms if "_notifications" in form.action]) == 1
    page = await visitor.send(page.form("_notifications"))
    assert "2 events wait for delivery again. More are left" in page.text
    page = await visitor.send(page.form("_notifications"))
    assert "1 event waits for delivery again." in page.text
    assert not page.has_form("_notifications")


async def test_registry_without_endpoints_shows_how_to_configure_them(start, services):
    operations = replace(operations_on(services), endpoint_names=frozenset)
    visitor = Visitor(await start(operations=operations))
    assert "/ui/_notifications" not in (await visitor.open()).links
    assert "url: https://ci.example.com" in (await visitor.open("_notifications")).text


async def test_other_addresses_and_endpoints_are_unknown(visitor):
    page = await visitor.open("_notifications?replayed=%C2%B2")
    assert "/ui/_notifications" in page.links
    assert "for delivery again" not in page.text
    assert (await visitor.open("_notifications/x")).status == 404
    token = dict(page.form("_preferences").fields)["form_token"]
    for name in ("", "unknown"):
        assert (await visitor.post("_notifications", [("form_token", token), ("endpoint", name)])).status == 400


async def test_rights_and_audit(start_with_users, outbox):  # noqa: F811
    log = ListAuditLog()
    visitor = Visitor(await start_with_users(audit_log=log, settings=Settings(audit=AuditSettings(stdout=True))))
    await kill(outbox, "a", 1)
    await visitor.sign_in("bob", "b")
    assert (await visitor.open("_notifications")).status == 403
    page = await visitor.open()
    assert "/ui/_notifications" not in page.links
    token = dict(page.form("_sign-out").fields)["form_token"]
    assert (await visitor.post("_notifications", [("form_token", token), ("endpoint", "a")])).status == 403
    await visitor.sign_in("alice", "secret")
    page = await visitor.open("_notifications")
    await visitor.send(page.form("_notifications"))
    found = [event for event in log.events if event.action is AuditAction.NOTIFICATIONS_REPLAY]
    assert [(event.actor, event.allowed) for event in found] == [("bob", False), ("alice", True)]


async def test_notifications_speak_chinese(visitor):
    visitor.language = "zh"
    assert "已放弃" in (await visitor.open("_notifications")).text
