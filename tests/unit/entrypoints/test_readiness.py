"""Readiness changes after several findings in a row, in both directions, and has a reason."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from config.settings import ReadinessSettings
from entrypoints.http.probes import Probes
from entrypoints.observability.health import CheckFailedError
from entrypoints.observability.readiness import Hysteresis, Readiness, Requirement

GOOD, BAD = True, False


@pytest.mark.parametrize(
    ("findings", "states"),
    [
        ([GOOD], [True]),
        ([BAD], [False]),
        ([GOOD, BAD, BAD, GOOD, BAD, BAD, BAD], [True, True, True, True, True, True, False]),
        ([BAD, GOOD, BAD, GOOD, GOOD, BAD], [False, False, False, False, True, True]),
    ],
)
def test_state_follows_consecutive_findings(findings, states):
    hysteresis = Hysteresis(failures_max=3, successes_min=2)
    seen = []
    for good in findings:
        hysteresis.take(good=good)
        seen.append(hysteresis.is_good)
    assert seen == states


async def test_full_store_is_reported_and_keeps_the_process_ready():
    """Pulls go on, and deleting does."""

    async def find_full():
        raise CheckFailedError("the disk is full")

    need = Requirement(name="storage-space", run=find_full, is_required=False)
    readiness = Readiness(ReadinessSettings(interval_seconds=0.01), [need], is_draining=lambda: False)
    async with asynccontextmanager(readiness.running)(web.Application()):
        await asyncio.sleep(0.05)
    for shows_reasons, reason in ((True, "the disk is full"), (False, "reason withheld")):
        handler = Probes(readiness, shows_reasons=shows_reasons).handlers["/readyz"]
        answer = await handler(make_mocked_request("GET", "/readyz"))
        assert isinstance(answer, web.Response)
        assert (answer.status, answer.text) == (200, f"ok\n[!]storage-space degraded: {reason}")


def test_only_changes_are_reported():
    hysteresis = Hysteresis(failures_max=2, successes_min=1)
    assert [hysteresis.take(good=good) for good in (GOOD, BAD, BAD, BAD, GOOD)] == [False, False, True, False, True]


class Store:
    """Something that a test breaks and mends."""

    def __init__(self):
        self.trouble = ""
        self.looks = asyncio.Event()

    async def look(self):
        self.looks.set()
        if self.trouble == "defect":
            raise ValueError("a defect")
        if self.trouble:
            raise CheckFailedError(self.trouble)

    async def wait_for_look(self):
        self.looks.clear()
        await asyncio.wait_for(self.looks.wait(), 60)
        await asyncio.sleep(0)


@pytest.fixture
async def running():
    """Start a readiness over a store and an index, with no need to wait long."""
    tasks = []

    async def start(**options):
        store, index = Store(), Store()
        settings = ReadinessSettings(interval_seconds=0.005, failures=1, successes=1)
        needs = [
            Requirement(name="storage", run=store.look, is_required=True),
            Requirement(name="catalog-index", run=index.look, is_required=False),
        ]
        readiness = Readiness(settings, needs, is_draining=options.pop("is_draining", lambda: False), **options)
        context = readiness.running(web.Application())
        await anext(context)
        tasks.append(context)
        return readiness, store, index

    yield start
    for context in tasks:
        with pytest.raises(StopAsyncIteration):
            await anext(context)


async def test_process_is_not_ready_before_the_first_check(running):
    readiness, _, _ = await running()
    assert dict(readiness.missing()) == {"storage": "not checked yet"}


async def test_required_check_decides_and_the_other_is_reported(running):
    readiness, store, index = await running()
    await store.wait_for_look()
    await index.wait_for_look()
    assert not readiness.missing()
    index.trouble = "the index does not respond"
    await index.wait_for_look()
    await store.wait_for_look()
    assert not readiness.missing()
    assert "[!]catalog-index degraded: the index does not respond" in list(readiness.lines())
    store.trouble = "down"
    await store.wait_for_look()
    await index.wait_for_look()
    assert dict(readiness.missing()) == {"storage": "down"}
    assert "[-]storage failed: down" in list(readiness.lines())
    assert "[-]storage failed: reason withheld" in list(readiness.lines(shows_reasons=False))
    assert not readiness.missing(["storage"])
    store.trouble = ""
    await store.wait_for_look()
    await index.wait_for_look()
    assert not readiness.missing()


async def test_crashing_check_counts_as_failed(running, caplog):
    readiness, store, index = await running()
    store.trouble = "defect"
    await store.wait_for_look()
    await index.wait_for_look()
    assert dict(readiness.missing()) == {"storage": "error in the check"}
    assert "readiness check storage raised an unexpected error" in caplog.text


@pytest.mark.parametrize(("option", "name"), [("is_draining", "shutdown"), ("is_blocked", "health")])
async def test_state_of_the_process_counts(running, option, name):
    readiness, store, index = await running(**{option: lambda: True})
    await store.wait_for_look()
    await index.wait_for_look()
    assert list(readiness.missing()) == [name]
    assert not readiness.missing([name])
