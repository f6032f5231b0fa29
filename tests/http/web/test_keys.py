"""API keys on the web page."""

import itertools
from datetime import timedelta

import pytest

from config.settings import AuditSettings, Settings
from core.access_keys.key import limit_to
from core.access_keys.service import AccessKeys
from tests.http.conftest import operations_on
from tests.http.test_trash_api import ListAuditLog
from tests.http.web.conftest import Visitor


@pytest.fixture
def keys(services, clock):
    numbers = itertools.count(1)
    return AccessKeys(
        services.storage,
        entropy=lambda count: next(numbers).to_bytes(count, "big"),
        clock=lambda: next(numbers) * 10.0,
        now=lambda: clock[0],
    )


@pytest.fixture
async def visitor(start_with_users, services, keys):
    return Visitor(await start_with_users(operations=operations_on(services, keys)))


async def listed(keys):
    return [each.key async for each in keys.listed()]


async def test_user_creates_uses_and_revokes_a_key(visitor, keys):
    await visitor.sign_in("bob", "b")
    page = await visitor.open("_keys")
    assert "No keys yet" in page.text
    page = await visitor.send(
        page.form("_keys"), label="builds", repositories="team/**, public/app", actions=["pull", "push"], expires="30"
    )
    [key] = await listed(keys)
    assert (key.owner, key.label, key.limit.repositories) == ("bob", "builds", ("team/**", "public/app"))
    assert key.expires_at is not None
    assert key.expires_at - key.created_at == timedelta(days=30)
    [token] = {word for word in page.text.split() if word.startswith("srk_")}
    assert await keys.verify(token) == key
    assert page.path == "/ui/_keys"
    page = await visitor.open("_keys")
    assert "srk_" not in page.html
    assert "builds" in page.text
    page = await visitor.send((await visitor.open(f"_key/{key.id}")).form(f"_key/{key.id}"))
    assert "The key is revoked." in page.text
    assert await keys.verify(token) is None


async def test_empty_limits_mean_all_repositories(visitor, keys):
    await visitor.sign_in("bob", "b")
    form = (await visitor.open("_keys")).form("_keys")
    await visitor.send(form, label="all", repositories="", actions=["pull"], expires="never")
    [key] = await listed(keys)
    assert (key.limit.repositories, key.expires_at) == (("**",), None)


@pytest.mark.parametrize(
    "fields",
    [
        {"label": "", "actions": ["pull"]},
        {"label": "x", "actions": []},
        {"label": "x", "actions": ["fly"]},
        {"label": "x", "actions": ["pull"], "expires": "1"},
        {"label": "x", "actions": ["pull"], "repositories": "a " * 200},
    ],
)
async def test_wrong_fields_create_nothing(visitor, keys, fields):
    await visitor.sign_in("bob", "b")
    form = (await visitor.open("_keys")).form("_keys")
    assert (await visitor.send(form, **{"expires": "30", **fields})).status == 400
    assert await listed(keys) == []


async def test_users_see_their_own_keys_and_operators_all(visitor, keys):
    limit = limit_to(["**"], ["pull"])
    alice, _ = await keys.create(owner="alice", label="of alice", limit=limit)
    bob, _ = await keys.create(owner="bob", label="<b>of bob</b>", limit=limit)
    await visitor.sign_in("bob", "b")
    page = await visitor.open("_keys")
    assert "of alice" not in page.text
    assert "<b>" not in page.html
    assert (await visitor.open(f"_key/{alice.id}")).status == 404
    form = (await visitor.open(f"_key/{bob.id}")).form(f"_key/{bob.id}")
    form.action = form.action.replace(bob.id, alice.id)
    assert (await visitor.send(form)).status == 404
    await visitor.sign_in("alice", "secret")
    assert "of bob" in (await visitor.open("_keys")).text
    await visitor.send((await visitor.open(f"_key/{bob.id}")).form(f"_key/{bob.id}"))
    assert await listed(keys) == [alice]


async def test_anonymous_visitor_has_no_keys(visitor):
    page = await visitor.open("_keys")
    assert page.path.startswith("/ui/_sign-in")
    token = dict(page.form("_sign-in").fields)["form_token"]
    fields = [("form_token", token), ("label", "x"), ("actions", "pull"), ("expires", "30")]
    assert (await visitor.post("_keys", fields)).status == 403
    assert (await visitor.post("_key/00000000000", [("form_token", token)])).status == 403


async def test_registry_without_users_has_no_page_of_keys(api):
    assert (await Visitor(api).open("_keys")).status == 404


async def test_changes_are_audited(start_with_users, services, keys):
    log = ListAuditLog()
    settings = Settings(audit=AuditSettings(stdout=True))
    operations = operations_on(services, keys)
    visitor = Visitor(await start_with_users(settings=settings, audit_log=log, operations=operations))
    await visitor.sign_in("bob", "b")
    await visitor.send((await visitor.open("_keys")).form("_keys"), label="x", actions=["pull"], expires="7")
    [key] = await listed(keys)
    await visitor.send((await visitor.open(f"_key/{key.id}")).form(f"_key/{key.id}"))
    assert [(event.action, event.actor, event.allowed) for event in log.events[-2:]] == [
        ("key.create", "bob", True), ("key.revoke", "bob", True),
    ]  # fmt: skip
