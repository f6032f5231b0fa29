"""`/v2/_sohu/registry/readonly`."""

import json

import pytest

from config.settings import AuditSettings, Settings, StorageSettings
from core.coordination.read_only import REASON_LENGTH_MAX, ReadOnly
from core.model.access import ADMINISTRATION, AccessPolicy, Rule, RuleAction
from core.ports.audit_log import AuditAction, Stage
from core.store import layout
from entrypoints.http.authentication import accesses_of
from entrypoints.http.routes import match
from tests.http.conftest import error_codes
from tests.http.test_trash_api import ListAuditLog

URL = "/v2/_sohu/registry/readonly"
WRITABLE = {"readonly": False, "configured": False, "reason": None, "by": None, "secondsLeft": None}


async def ask(api, method, **options):
    async with api.request(method, URL, **options) as response:
        return response.status, await (response.json() if response.status == 200 else error_codes(response))


async def push_status(api):
    async with api.request("POST", "/v2/a/blobs/uploads/") as response:
        return response.status


async def test_switch_is_turned_on_and_off(api):
    assert await ask(api, "GET") == (200, WRITABLE)
    assert await push_status(api) == 202
    status, mode = await ask(api, "PUT", json={"reason": " moving ", "duration": "1h30m"})
    assert (status, mode["readonly"], mode["reason"], mode["by"]) == (200, True, "moving", "")
    assert 5000 < mode["secondsLeft"] <= 5400
    # This process follows at once, others within three seconds.
    assert await push_status(api) == 405
    # The switch itself works while the registry is read-only.
    status, mode = await ask(api, "PUT", json={})
    assert (mode["reason"], mode["secondsLeft"]) == (ReadOnly().reason, None)
    assert await ask(api, "DELETE") == (200, WRITABLE)
    assert await push_status(api) == 202
    assert await ask(api, "DELETE") == (200, WRITABLE)


async def test_configuration_keeps_the_registry_read_only(start):
    storage = StorageSettings(readonly_enabled=True, readonly_reason="a standby")
    api = await start(Settings(storage=storage))
    expected = WRITABLE | {"readonly": True, "configured": True, "reason": "a standby"}
    assert await ask(api, "DELETE") == (200, expected)
    assert (await ask(api, "PUT", json={"reason": "moving"}))[1]["reason"] == "moving"
    assert (await ask(api, "DELETE"))[1] == expected


async def test_disabled_deletion_does_not_keep_the_mode(start):
    api = await start(Settings(storage=StorageSettings(delete_enabled=False)))
    await ask(api, "PUT", json={})
    assert await ask(api, "DELETE") == (200, WRITABLE)


@pytest.mark.parametrize(
    "body",
    [
        {"reason": ""},
        {"reason": "x" * (REASON_LENGTH_MAX + 1)},
        {"reason": 1},
        {"duration": "90"},
        {"duration": "0s"},
        {"duration": "-1h"},
        {"duration": "soon"},
        {"duration": 60},
        {"until": "noon"},
        [],
    ],
    ids=str,
)
async def test_other_bodies_are_refused(api, body):
    assert await ask(api, "PUT", json=body) == (400, ["UNSUPPORTED"])
    assert await ask(api, "PUT", data=json.dumps(body).encode()) == (400, ["UNSUPPORTED"])
    assert await ask(api, "GET") == (200, WRITABLE)


async def test_right_to_administer_is_required(start, services):
    every = tuple(action for action in RuleAction if action is not RuleAction.ADMIN)
    api = await start(policy=AccessPolicy(rules=(Rule(who=("anonymous",), actions=every),)))
    for method in ("GET", "PUT", "DELETE"):
        assert await ask(api, method, json={}) == (403, ["DENIED"])
        assert accesses_of(match(URL), method, None) == (ADMINISTRATION,)
    assert await services.keys(layout.READ_ONLY.rpartition("/")[0]) == set()
    api = await start(policy=AccessPolicy(rules=(Rule(who=("anonymous",), actions=(RuleAction.ADMIN,)),)))
    for method in ("GET", "PUT", "DELETE"):
        assert (await ask(api, method, json={}))[0] == 200


async def test_switch_is_audited_before_it_is_turned(start):
    log = ListAuditLog()
    api = await start(Settings(audit=AuditSettings(stdout=True, required=True)), audit_log=log)
    await ask(api, "PUT", json={"reason": "moving"})
    await ask(api, "DELETE")
    assert [(event.action, event.stage, event.reason) for event in log.events] == [
        (AuditAction.READONLY_ON, Stage.ASKED, ""),
        (AuditAction.READONLY_ON, Stage.DONE, "moving"),
        (AuditAction.READONLY_OFF, Stage.ASKED, ""),
        (AuditAction.READONLY_OFF, Stage.DONE, ""),
    ]
    log.is_broken = True
    assert await ask(api, "PUT", json={}) == (503, ["UNAVAILABLE"])
    log.is_broken = False
    assert await ask(api, "GET") == (200, WRITABLE)
