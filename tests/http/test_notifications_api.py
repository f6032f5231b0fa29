"""`/v2/_sohu/registry/notifications`."""

from datetime import UTC, datetime

import pytest

from config.settings import AuditSettings, Settings, StorageSettings
from core.model.access import ADMINISTRATION, AccessPolicy, Rule, RuleAction
from core.notifications.outbox import Outbox
from core.ports.audit_log import AuditAction, Stage
from entrypoints.http.authentication import accesses_of
from entrypoints.http.handlers import notifications
from entrypoints.http.routes import match
from tests.http.test_trash_api import ListAuditLog, ask, get
from tests.support.notifications import make_event

URL = "/v2/_sohu/registry/notifications"
REPLAY = {"action": "replay"}
AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
NOTHING = {"queued": 0, "queuedSince": None, "dead": 0, "deadSince": None, "complete": True}


@pytest.fixture
def outbox(services):
    return Outbox(services.storage, process=lambda: "filler", now=lambda: AT)


async def kill(outbox, endpoint, count):
    """Record events of which delivery gives up each."""
    await outbox.record({endpoint: [make_event(f"{endpoint}-{number}") for number in range(count)]})
    [batch] = await outbox.queued(endpoint)
    await outbox.give_up(endpoint, await outbox.read(endpoint, batch), reason="410 from http://user:secret@host/")
    await outbox.settle(endpoint, [batch])


async def states(api):
    return {state.pop("endpoint"): state for state in (await get(api, URL))[0]["endpoints"]}


async def test_queues_are_shown_in_numbers_without_contents(api, outbox):
    await kill(outbox, "former", 2)
    await outbox.record({"configured": [make_event("1"), make_event("2")]})
    found = await states(api)
    # The outbox adds a microsecond per batch of events.
    assert found["configured"].pop("queuedSince").startswith(AT.isoformat()[:19])
    assert found["configured"] | {"queuedSince": None} == NOTHING | {"configured": True, "queued": 2}
    assert (found["former"]["configured"], found["former"]["dead"]) == (False, 2)
    async with api.request("GET", URL) as response:
        text = await response.text()
    assert "secret" not in text
    assert "target" not in text


async def test_configured_endpoint_without_events_is_shown(api):
    assert await states(api) == {"configured": NOTHING | {"configured": True}}


async def test_dead_letters_are_delivered_again(api, outbox):
    await kill(outbox, "a", 2)
    await kill(outbox, "b", 1)
    assert await ask(api, "POST", URL, json=REPLAY | {"endpoint": "a"}) == (200, {"replayed": 2, "complete": True})
    found = await states(api)
    assert (found["a"]["queued"], found["a"]["dead"], found["b"]["queued"], found["b"]["dead"]) == (2, 0, 0, 1)
    assert await ask(api, "POST", URL, json=REPLAY) == (200, {"replayed": 1, "complete": True})
    assert await ask(api, "POST", URL, json=REPLAY) == (200, {"replayed": 0, "complete": True})


async def test_one_request_replays_a_bounded_number(api, outbox, monkeypatch):
    monkeypatch.setattr(notifications, "REPLAYED_MAX", 2)
    await kill(outbox, "a", 3)
    await kill(outbox, "b", 1)
    assert await ask(api, "POST", URL, json=REPLAY) == (200, {"replayed": 2, "complete": False})
    assert await ask(api, "POST", URL, json=REPLAY) == (200, {"replayed": 2, "complete": True})


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"action": "drop"},
        REPLAY | {"endpoint": "unknown"},
        REPLAY | {"endpoint": 1},
        REPLAY | {"id": "1"},
    ],
)
async def test_other_bodies_are_refused(api, outbox, body):
    await kill(outbox, "a", 1)
    assert await ask(api, "POST", URL, json=body) == (400, ["UNSUPPORTED"])
    assert await ask(api, "POST", URL, data=REPLAY) == (400, ["UNSUPPORTED"])
    assert (await states(api))["a"]["dead"] == 1


async def test_right_to_administer_is_required(start, outbox):
    every = tuple(action for action in RuleAction if action is not RuleAction.ADMIN)
    users = await start(policy=AccessPolicy(rules=(Rule(who=("anonymous",), actions=every),)))
    operators = await start(policy=AccessPolicy(rules=(Rule(who=("anonymous",), actions=(RuleAction.ADMIN,)),)))
    for method in ("GET", "POST"):
        assert await ask(users, method, URL, json=REPLAY) == (403, ["DENIED"])
        assert (await ask(operators, method, URL, json=REPLAY))[0] == 200
        assert accesses_of(match(URL), method, None) == (ADMINISTRATION,)


async def test_replay_works_while_the_registry_is_read_only_as_the_command_does(start, outbox):
    await kill(outbox, "a", 1)
    api = await start(Settings(storage=StorageSettings(readonly_enabled=True)))
    assert (await ask(api, "POST", URL, json=REPLAY))[0] == 200


async def test_replay_is_audited_before_it_happens(start, outbox):
    log = ListAuditLog()
    api = await start(Settings(audit=AuditSettings(stdout=True, required=True)), audit_log=log)
    await kill(outbox, "a", 1)
    await ask(api, "POST", URL, json=REPLAY)
    assert [(event.action, event.stage) for event in log.events] == [
        (AuditAction.NOTIFICATIONS_REPLAY, Stage.ASKED),
        (AuditAction.NOTIFICATIONS_REPLAY, Stage.DONE),
    ]
    await kill(outbox, "b", 1)
    log.is_broken = True
    assert await ask(api, "POST", URL, json=REPLAY) == (503, ["UNAVAILABLE"])
    assert (await states(api))["b"]["dead"] == 1
