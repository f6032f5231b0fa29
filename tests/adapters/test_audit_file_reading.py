"""Reading back the audit log's file: damaged lines, rotation, and limits."""

import json
import os
from dataclasses import fields

import pytest

from adapters.audit_log.file import FileAuditLog
from adapters.audit_log.reading import BLOCK_BYTES, LINE_BYTES_MAX, READ_BYTES_MAX
from core.errors import AuditUnavailableError
from core.ports.audit_log import AuditAction, AuditEvent, Stage
from core.ports.audit_trail import TrailQuery
from tests.contracts.audit_log_contract import event

ALL = TrailQuery()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit.jsonl"


@pytest.fixture
async def log(path):
    async with FileAuditLog(path) as log:
        yield log


async def record(log, *ids):
    for each in ids:
        await log.record(event(request_id=each))


async def read(log, n=100, before="", query=ALL):
    page = await log.recent(query, n=n, before=before)
    return [each.request_id for each in page.events], page.following


@pytest.mark.parametrize(
    "damage",
    [
        b"not json",
        b"\xff\xfe\x00",
        b"[1]",
        b'{"log": "access"}',
        b'{"log": "audit", "time": "yesterday", "action": "login"}',
        b'{"log": "audit", "time": "2026-11-24T12:30:05", "action": "login"}',
        b'{"log": "audit", "time": 5, "action": "login"}',
        b'{"log": "audit", "time": "2026-11-24T12:30:05Z", "action": "login", "tags": 5}',
        b'{"log": "audit"}',
        b"[" * 100_000,
        b"",
        b"x" * (LINE_BYTES_MAX + BLOCK_BYTES),
        b'{"log": "audit", "tim',
    ],
)
async def test_damaged_lines_are_skipped(log, path, damage):
    await record(log, "before")
    with path.open("ab") as file:
        file.write(damage + b"\n")
    await record(log, "after")
    assert await read(log) == (["after", "before"], None)


async def test_torn_last_line_is_skipped(log, path):
    await record(log, "whole")
    with path.open("ab") as file:
        file.write(b'{"log": "audit", "time": "2026')
    assert await read(log) == (["whole"], None)


async def test_action_of_a_later_release_is_shown(log, path):
    line = {"log": "audit", "time": "2026-11-24T12:30:05Z", "action": "fly", "request_id": "x", "status": "no"}
    path.write_text(json.dumps(line) + "\n")
    [found] = (await log.recent(ALL, n=1)).events
    assert (found.action, found.request_id, found.status) == (AuditAction.OTHER, "x", 0)


async def test_reading_goes_on_in_the_file_before_the_rotation(log, path):
    await record(log, *"abcd")
    found, following = await read(log, n=2)
    assert found == ["d", "c"]
    path.rename(path.with_name("audit.jsonl.1"))
    await record(log, "e", "f")
    assert await read(log, before=following) == (["b", "a"], None)
    assert await read(log) == (["f", "e", "d", "c", "b", "a"], None)
    found, following = await read(log, n=2)
    assert found == ["f", "e"]
    assert await read(log, before=following) == (["d", "c", "b", "a"], None)


async def test_truncated_file_is_read_from_its_end(log, path):
    await record(log, *"abcd")
    _, following = await read(log, n=1)
    os.truncate(path, 0)
    assert await read(log, before=following) == ([], None)


async def test_lines_across_blocks_are_whole(log):
    ids = [f"{number:04}-{'x' * 150}" for number in range(1000)]
    for each in ids:
        await log.record(event(request_id=each))
    assert await read(log, n=2000) == (ids[::-1], None)


async def test_work_of_a_call_is_limited(log, path):
    await record(log, "old")
    line = (json.dumps({"log": "audit", "filler": "x" * 10_000}) + "\n").encode()
    with path.open("ab") as file:
        file.write(line * (READ_BYTES_MAX // len(line) + 10))
    await record(log, "new")
    found, following = await read(log)
    assert found == ["new"]
    assert following is not None
    assert await read(log, before=following) == (["old"], None)


async def test_missing_file_has_no_events(log):
    assert await read(log) == ([], None)


async def test_pipe_and_folder_cannot_be_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        with pytest.raises(AuditUnavailableError, match="cannot be read: it is not a file"):
            await FileAuditLog(tmp_path / name).recent(ALL, n=1)


async def test_every_field_of_an_event_is_read_back(log):
    texts = {each.name: f"the {each.name}" for each in fields(AuditEvent) if each.type is str}
    whole = event(stage=Stage.ASKED, allowed=False, tags=("v1", "v2"), status=403, **texts)
    await log.record(whole)
    page = await log.recent(ALL, n=1)
    assert page.events == [whole]
    assert [each.name for each in fields(AuditEvent) if getattr(whole, each.name) == each.default] == []
