"""The state of a shared job, as another process reads it."""

import asyncio
from datetime import timedelta

import pytest

from core.coordination.job_state import RUNNING_WITHIN, JobState, read_job
from core.coordination.lease import Lease
from core.coordination.schedule import SharedSchedule
from core.store import layout

JOB = "test"


def make_schedule(storage, time):
    lease = Lease(storage, layout.lease(JOB), owner_id=lambda: "a", ttl=30, clock=time.clock, sleep=time.sleep)
    return SharedSchedule(storage, lease, key=layout.job(JOB), interval=timedelta(hours=1))


async def test_job_that_never_ran_has_no_state(storage):
    assert await read_job(storage, JOB) == JobState()


async def test_progress_of_a_run_and_its_report_are_seen(storage, time):
    schedule, gate = make_schedule(storage, time), asyncio.Event()

    async def work(_now):
        await gate.wait()
        return '{"removed": 3}'

    running = asyncio.create_task(schedule.run_if_due(work))
    await time.advance(1)
    state = await read_job(storage, JOB)
    assert (state.holder, state.progress, state.done_at, state.report) == ("a", {}, None, {})
    schedule.note({"phase": "marking", "repositories": 7})
    await time.advance(20)
    assert (await read_job(storage, JOB)).progress == {"phase": "marking", "repositories": 7}
    # Progress that does not fit is left out, and the lease stays readable.
    schedule.note({"phase": "x" * 5000})
    await time.advance(20)
    state = await read_job(storage, JOB)
    assert (state.holder, state.progress) == ("a", {})
    schedule.note({"phase": "removing"})
    gate.set()
    assert await running
    state = await read_job(storage, JOB)
    assert state == JobState(done_at=time.now(), report={"removed": 3})
    # The next run begins without the progress of this one.
    gate.clear()
    running = asyncio.create_task(schedule.run_if_due(work, is_urgent=True))
    await time.advance(1)
    assert (await read_job(storage, JOB)).progress == {}
    gate.set()
    await running


async def test_holder_that_died_is_not_shown(storage, time):
    await storage.write(layout.lease(JOB), b'{"owner": "dead", "counter": 1, "progress": {"phase": "x"}}')
    assert (await read_job(storage, JOB)).holder == "dead"
    await time.advance(RUNNING_WITHIN.total_seconds())
    assert await read_job(storage, JOB) == JobState()


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"owner": "a", "progress": 1}', b" " * 2**21])
async def test_foreign_objects_are_no_reports(storage, time, content):
    await storage.write(layout.lease(JOB), content)
    await storage.write(layout.job(JOB), content)
    state = await read_job(storage, JOB)
    assert state.holder in {"unknown", "a"}
    assert (state.progress, state.done_at) == ({}, time.now())
