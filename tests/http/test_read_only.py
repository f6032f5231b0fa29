"""Read-only mode of all replicas, as seen by clients."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from config.settings import Settings
from core.coordination import read_only
from core.coordination.read_only import ReadOnly, ReadOnlySwitch, switch_off, switch_on
from core.model.digest import Digest
from entrypoints.http.routes import Right
from entrypoints.http.runtime_flags import RuntimeFlags
from entrypoints.jobs.background import Job
from tests.http.conftest import error_codes
from tests.support.quiet import settle


@pytest.fixture(autouse=True)
def _looks_each_time(monkeypatch):
    monkeypatch.setattr(read_only, "VIEW_SECONDS_MAX", -1.0)


@pytest.fixture
def settings_with():
    return lambda **changes: replace(Settings(), storage=replace(Settings().storage, **changes))


async def test_refusal_contains_reason_and_end(api, services):
    digest = await api.push_blob("a", b"content")
    # The storage's clock stands still in these tests.
    await switch_on(services.storage, ReadOnly(reason="moving to new disks until 23:00", seconds=90.0))
    for method, path in (
        ("POST", "/v2/a/blobs/uploads/"),
        ("PATCH", "/v2/a/blobs/uploads/x"),
        ("PUT", "/v2/a/blobs/uploads/x"),
        ("DELETE", "/v2/a/blobs/uploads/x"),
        ("PUT", "/v2/a/manifests/x"),
        ("DELETE", "/v2/a/manifests/x"),
        ("DELETE", f"/v2/a/blobs/{digest}"),
    ):
        async with api.request(method, path) as response:
            assert response.status == 405
            assert response.headers["Allow"] == "GET, HEAD"
            assert 30 <= int(response.headers["Retry-After"]) <= 90
            assert await error_codes(response) == ["UNSUPPORTED"]
            assert (await response.json())["errors"][0]["message"] == "moving to new disks until 23:00"
    for path in (f"/v2/a/blobs/{digest}", "/v2/", "/v2/_catalog"):
        async with api.request("GET", path) as response:
            assert response.status == 200


async def test_mode_without_an_end_has_no_retry_after(api, services):
    await switch_on(services.storage, ReadOnly(reason="for good"))
    async with api.request("POST", "/v2/a/blobs/uploads/") as response:
        assert response.status == 405
        assert "Retry-After" not in response.headers


async def test_running_request_finishes_and_the_session_continues_later(api, services):
    async with api.request("POST", "/v2/a/blobs/uploads/") as response:
        location = response.headers["Location"]
    gate = asyncio.Event()

    async def body():
        yield b"first "
        await gate.wait()
        yield b"second"

    async def send():
        async with api.request("PATCH", location, data=body()) as response:
            assert response.status == 202
            return response.headers["Location"]

    sending = asyncio.create_task(send())
    await settle()
    await switch_on(services.storage, ReadOnly(reason="backup"))
    gate.set()
    location = await sending
    finish = f"{location}&digest={Digest.of(b'first second')}"
    async with api.request("PUT", finish) as response:
        assert response.status == 405
    await switch_off(services.storage)
    async with api.request("PUT", finish) as response:
        assert response.status == 201


@pytest.mark.parametrize("upkeep", [True, False])
async def test_maintenance_waits_if_configured(services, settings_with, upkeep):
    shared = ReadOnlySwitch(services.storage, clock=time.monotonic, now=lambda: datetime.now(UTC))
    flags = RuntimeFlags(settings_with(readonly_upkeep=upkeep), shared)
    assert not await flags.upkeep_waits()
    await switch_on(services.storage, ReadOnly())
    assert await flags.upkeep_waits() is not upkeep
    await switch_off(services.storage)
    flags.apply(settings_with(readonly_upkeep=upkeep, readonly_enabled=True))
    assert await flags.upkeep_waits() is not upkeep


async def test_waiting_maintenance_continues_afterwards(start, services, settings_with):
    done = {True: 0, False: 0}

    def job(*, is_upkeep):
        async def run():
            done[is_upkeep] += 1

        return Job(name="counted", run=run, every=0.01, is_upkeep=is_upkeep)

    await switch_on(services.storage, ReadOnly())
    await start(settings_with(readonly_upkeep=False), jobs=[job(is_upkeep=True), job(is_upkeep=False)])
    async with asyncio.timeout(60):
        while done[False] < 3:  # noqa: ASYNC110 - a job sends no signal
            await asyncio.sleep(0.01)
    assert done[True] == 0
    await switch_off(services.storage)
    async with asyncio.timeout(60):
        while not done[True]:  # noqa: ASYNC110 - a job sends no signal
            await asyncio.sleep(0.01)


async def test_flags_follow_the_view_of_the_switch(services, settings_with):
    shared = ReadOnlySwitch(services.storage, clock=time.monotonic, now=lambda: datetime.now(UTC))
    assert RuntimeFlags(settings_with(readonly_enabled=True), shared).is_read_only
    flags = RuntimeFlags(settings_with(), shared)
    await switch_on(services.storage, ReadOnly())
    assert not flags.is_read_only
    await shared.look()
    assert flags.is_read_only


async def test_disabled_deletion_is_reported_before_read_only_mode(services, settings_with):
    shared = ReadOnlySwitch(services.storage, clock=time.monotonic, now=lambda: datetime.now(UTC))
    flags = RuntimeFlags(settings_with(delete_enabled=False), shared)
    await flags.require(Right.READ)
    await flags.require(Right.WRITE)
    with pytest.raises(Exception, match=r"storage\.delete\.enabled"):
        await flags.require(Right.DELETE)
