"""Audit logs on a pipe that is not read: no line waits for ever, and none is lost in silence."""

import asyncio
import json
import os
from contextlib import asynccontextmanager, suppress

import pytest

from adapters.audit_log.file import FileAuditLog
from adapters.audit_log.stream import StreamAuditLog
from config.streams import UnblockedStream
from core.errors import AuditUnavailableError
from tests.contracts.audit_log_contract import event

TIMEOUT_SECONDS = 0.5


@pytest.fixture(params=["stream", "file"])
async def unread(request, tmp_path):
    """A log on a pipe, and the reading end of it."""
    async with log_on_a_pipe(request.param, tmp_path, TIMEOUT_SECONDS) as opened:
        yield opened


@asynccontextmanager
async def log_on_a_pipe(kind, tmp_path, timeout_seconds):
    os.mkfifo(tmp_path / "pipe")
    reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    writing = os.open(tmp_path / "pipe", os.O_WRONLY)
    if kind == "stream":
        log: StreamAuditLog | FileAuditLog = StreamAuditLog(UnblockedStream(writing), timeout_seconds=timeout_seconds)
    else:
        log = FileAuditLog(tmp_path / "pipe", timeout_seconds=timeout_seconds)
    async with log:
        yield log, reading
    os.close(reading)
    os.close(writing)


async def fill(log):
    """Record events until the pipe takes no more; return how many it took."""
    for number in range(10_000):
        try:
            await log.record(event(request_id=str(number)))
        except AuditUnavailableError:
            return number
    raise AssertionError("the pipe is never full")


def read_all(reading):
    content = b""
    try:
        while piece := os.read(reading, 65536):
            content += piece
    except BlockingIOError:
        pass
    return [json.loads(line)["request_id"] for line in content.decode().splitlines()]


async def test_unwritable_line_is_an_error_and_the_next_ones_do_not_wait(unread):
    log, reading = unread
    taken = await fill(log)
    tasks = [asyncio.create_task(log.record(event(request_id="lost"))) for _ in range(50)]
    await asyncio.wait(tasks)
    assert {type(task.exception()) for task in tasks} == {AuditUnavailableError}
    assert read_all(reading) == [str(number) for number in range(taken)]
    await log.record(event(request_id="after"))
    assert read_all(reading) == ["after"]


async def test_log_notices_that_there_is_room_again(unread):
    log, reading = unread
    taken = await fill(log)
    read_all(reading)
    for number in range(taken):
        await log.record(event(request_id=str(number)))


@pytest.mark.parametrize("kind", ["stream", "file"])
async def test_log_waits_for_a_slow_reader(kind, tmp_path):
    async with log_on_a_pipe(kind, tmp_path, timeout_seconds=60) as (log, reading):
        fill_pipe(tmp_path / "pipe")
        recording = asyncio.create_task(log.record(event(request_id="last", actor="a" * 3000)))
        await asyncio.sleep(TIMEOUT_SECONDS / 5)
        assert not recording.done()
        os.read(reading, 1024 * 1024)
        await recording
        assert read_all(reading) == ["last"]


def fill_pipe(path):
    """Write line ends until the pipe takes no more."""
    pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while True:
            os.write(pipe, b"\n" * 4096)
    os.close(pipe)


async def test_partial_line_damages_no_other(unread):
    log, reading = unread
    with pytest.raises(AuditUnavailableError):
        # Longer than the pipe, so a part of it is taken.
        await log.record(event(repository="x" * 100_000))
    torn = os.read(reading, 100_000)
    assert torn.startswith(b'{"log": "audit"')
    assert not torn.endswith(b"\n")
    await log.record(event(request_id="whole"))
    cut, line = os.read(reading, 65536).split(b"\n")[:2]
    assert cut == b""
    assert json.loads(line)["request_id"] == "whole"
