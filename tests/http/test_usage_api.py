"""`/v2/_sohu/registry/usage` and `/v2/<name>/_sohu/registry/usage`."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from adapters.auth.silly import SillyAuthenticator
from core.coordination import job_names
from core.coordination.lease import Lease
from core.coordination.schedule import SharedSchedule
from core.model import media_types
from core.model.access import AccessPolicy, Rule, RuleAction
from core.model.names import RepositoryName
from core.store import layout
from core.usage.measurement import Amount, Measurement, RepositoryUsage, StoreUsage
from core.usage.measuring import UsageMeter
from core.usage.records import UsageRecords
from entrypoints.jobs.usage import usage_work
from tests.http.conftest import error_codes
from tests.support.content import image_manifest
from tests.support.links import links_of

URL = "/v2/_sohu/registry/usage"
AT = datetime(2026, 11, 29, 20, tzinfo=UTC)
OF = {"a": (100, 7), "b": (100, 0), "c/d": (5, 5)}
MEASUREMENT = Measurement(
    store=StoreUsage(measured_at=AT, seconds=1.0, repositories=3, blobs=Amount(count=9, size=210)),
    repositories=[
        RepositoryUsage(name=RepositoryName(name), blobs=2, own=own, shared=shared)
        for name, (own, shared) in OF.items()
    ],
)


async def get(api, path=URL, status=200):
    async with api.request("GET", path) as response:
        assert response.status == status, await response.text()
        return await response.json(), response.headers.get("Link")


async def push(api, name):
    for content in (b"{}", b"layer"):
        await api.push_blob(name, content)
    await api.push_manifest(name, "v1", image_manifest(b"{}", [b"layer"]), media_types.OCI_MANIFEST)


async def start(api):
    async with api.request("POST", URL, json={"action": "start"}) as response:
        return response.status


def lease_on(storage, owner):
    return Lease(
        storage,
        layout.lease(job_names.USAGE),
        owner_id=lambda: owner,
        ttl=12.0,
        clock=time.monotonic,
        sleep=asyncio.sleep,
    )


async def test_a_started_measurement_is_returned_once_it_is_complete(api):
    document, _ = await get(api)
    assert (document["usage"], document["byRepository"], document["running"]) == (None, [], False)
    await push(api, "a")
    assert await start(api) == 202
    while (await get(api))[0]["usage"] is None:  # noqa: ASYNC110 - a server sends no signal
        await asyncio.sleep(0)
    document, _ = await get(api)
    size = len(image_manifest(b"{}", [b"layer"])) + len(b"{}layer")
    assert document["usage"]["blobs"] == {"count": 3, "bytes": size}
    assert document["byRepository"] == [{"name": "a", "blobs": 3, "ownBytes": size, "sharedBytes": 0}]
    of_a, _ = await get(api, "/v2/a/_sohu/registry/usage")
    assert of_a == {
        "name": "a",
        "measuredAt": document["usage"]["measuredAt"],
        "blobs": 3,
        "bytes": size,
        "ownBytes": size,
        "sharedBytes": 0,
    }


async def test_no_measurement_starts_while_another_process_measures(api, services):
    lease = lease_on(services.storage, "another")
    assert await lease.try_acquire()
    assert await start(api) == 409
    document, _ = await get(api)
    assert (document["running"], document["by"]) == (True, "another")


async def test_repositories_are_listed_page_by_page(api, services):
    await UsageRecords(services.storage).save(MEASUREMENT)
    found = []
    path: str | None = f"{URL}?n=1"
    while path:
        document, link = await get(api, path)
        found += [each["name"] for each in document["byRepository"]]
        path = links_of(link).get("next")
    assert found == ["a", "b", "c/d"]
    document, link = await get(api, f"{URL}?n=0")
    assert (document["byRepository"], link) == ([], None)


async def test_an_invalid_position_is_400(api):
    async with api.request("GET", f"{URL}?last=a") as response:
        assert (response.status, await error_codes(response)) == (400, ["PAGINATION_NUMBER_INVALID"])


async def test_a_repository_that_is_unknown_or_new(api, services):
    async with api.request("GET", "/v2/gone/_sohu/registry/usage") as response:
        assert (response.status, await error_codes(response)) == (404, ["NAME_UNKNOWN"])
    await push(api, "new")
    assert (await get(api, "/v2/new/_sohu/registry/usage"))[0] == {"name": "new"}
    await UsageRecords(services.storage).save(MEASUREMENT)
    assert (await get(api, "/v2/new/_sohu/registry/usage"))[0] == {"name": "new"}


async def test_users_of_a_repository_do_not_see_what_it_shares(start_with_rules, services):
    api = await start_with_rules(RuleAction.PULL, RuleAction.PUSH)
    await push(api, "a")
    await UsageRecords(services.storage).save(MEASUREMENT)
    document, _ = await get(api, "/v2/a/_sohu/registry/usage")
    assert document == {"name": "a", "measuredAt": "2026-11-29T20:00:00Z", "blobs": 2, "bytes": 107}
    for method in ("GET", "POST"):
        async with api.request(method, URL) as response:
            assert response.status == 403


@pytest.fixture
def start_with_rules(start):
    async def start_one(*actions):
        rule = Rule(who=("silly",), repositories=("a",), actions=actions)
        api = await start(authenticator=SillyAuthenticator(realm="r", service="s"), policy=AccessPolicy(rules=(rule,)))
        api.session.headers["Authorization"] = "Basic YTpi"
        return api

    return start_one


async def test_a_measurement_without_the_lease_is_not_stored(services):
    """Another process may have taken the job over, and an interrupted measurement is incomplete."""
    lease = lease_on(services.storage, "this")
    schedule = SharedSchedule(services.storage, lease, key=layout.job(job_names.USAGE), interval=timedelta(hours=1))
    records = UsageRecords(services.storage)
    work = usage_work(Finished, schedule, records)
    await work()
    assert await records.last() is None
    assert await lease.try_acquire()
    assert await work() == {"blobs": 9, "bytes": 210, "seconds": 1.0}
    last = await records.last()
    assert last is not None
    assert last.store["measuredAt"] == "2026-11-29T20:00:00Z"


class Finished(UsageMeter):
    def __init__(self):
        """Need no store."""

    async def measure(self):
        return MEASUREMENT
