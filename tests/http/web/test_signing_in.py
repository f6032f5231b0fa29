"""Signing in and out, and the life of a session."""

from datetime import timedelta

import pytest

from config.settings import AuditSettings, Settings
from tests.http.test_trash_api import ListAuditLog
from tests.http.web.conftest import Visitor
from tests.support.htpasswd import write_htpasswd


@pytest.fixture
async def visitor(start_with_users):
    return Visitor(await start_with_users())


async def test_user_signs_in_and_out(visitor):
    page = await visitor.sign_in("alice", "secret")
    assert page.status == 200
    assert "alice" in page.text
    page = await visitor.send(page.form("_sign-out"))
    assert "alice" not in page.text


@pytest.mark.parametrize(("user", "password"), [("alice", "wrong"), ("nobody", "x"), ("a:b", "x"), ("", "")])
async def test_wrong_credentials_get_one_answer(visitor, user, password):
    page = await visitor.sign_in(user, password)
    assert page.status == 403
    assert "The user name or the password is wrong." in page.text
    assert not page.has_form("_sign-out")


async def test_session_is_new_after_the_sign_in(visitor):
    await visitor.open()
    before = visitor.cookies["registry_session"]
    await visitor.sign_in("alice", "secret")
    assert visitor.cookies["registry_session"] != before


async def test_cookie_is_of_no_use_to_scripts_and_other_paths(start_with_users):
    api = await start_with_users()
    async with api.request("GET", "/ui/") as response:
        morsel = response.cookies["registry_session"]
        assert (morsel["httponly"], morsel["samesite"], morsel["path"]) == (True, "Lax", "/ui/")
    api.session.cookie_jar.clear()
    async with api.request("GET", "/ui/", headers={"X-Forwarded-Proto": "https"}) as response:
        assert response.cookies["registry_session"]["secure"]


async def test_cookie_does_not_open_the_api(visitor):
    await visitor.sign_in("alice", "secret")
    cookie = f"registry_session={visitor.cookies['registry_session']}"
    visitor.api.session.cookie_jar.clear()
    async with visitor.api.request("GET", "/v2/private/tags/list", headers={"Cookie": cookie}) as response:
        assert response.status == 401


async def test_session_ends_after_twelve_hours(visitor, clock):
    await visitor.sign_in("alice", "secret")
    clock[0] += timedelta(hours=11)
    assert "alice" in (await visitor.open()).text
    clock[0] += timedelta(hours=2)
    assert "alice" not in (await visitor.open()).text


async def test_session_ends_with_the_password_and_with_the_user(visitor, tmp_path):
    await visitor.sign_in("alice", "secret")
    write_htpasswd(tmp_path / "htpasswd", alice="changed", bob="b")
    assert "alice" not in (await visitor.open()).text
    await visitor.sign_in("alice", "changed")
    write_htpasswd(tmp_path / "htpasswd", bob="b")
    assert "alice" not in (await visitor.open()).text


async def test_blocked_user_sees_nothing(start_with_users):
    visitor = Visitor(await start_with_users())
    await visitor.sign_in("alice", "secret")
    visitor.api = await start_with_users(blocked=frozenset({"alice"}))
    page = await visitor.open()
    assert page.status == 403
    assert "denied" in page.text
    await visitor.send(page.form("_sign-out"))
    assert (await visitor.sign_in("bob", "b")).status == 200


@pytest.mark.parametrize("cookie", ["x", "AAAA", "é", "a" * 3000, "=" * 40])
async def test_forged_cookies_are_ignored(visitor, cookie):
    visitor.cookies["registry_session"] = cookie
    page = await visitor.open()
    assert page.status == 200
    assert visitor.cookies["registry_session"] != cookie


async def test_sign_in_returns_to_the_page_that_required_it(visitor):
    page = await visitor.open("_sign-in?next=_search")
    assert dict(page.form("_sign-in").fields)["next"] == "_search"


async def test_sign_ins_are_audited(start_with_users):
    log = ListAuditLog()
    visitor = Visitor(await start_with_users(settings=Settings(audit=AuditSettings(stdout=True)), audit_log=log))
    await visitor.sign_in("alice", "wrong")
    await visitor.sign_in("alice", "secret")
    refused, done = [event for event in log.events if event.action == "sign_in"]
    assert (refused.allowed, refused.claimed, refused.actor) == (False, "alice", "")
    assert (done.allowed, done.status) == (True, 303)
