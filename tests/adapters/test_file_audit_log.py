"""The audit log's file: logrotate, other processes, full disks, killed writers."""

import asyncio
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.audit_log.file import FileAuditLog
from adapters.audit_log.stream import StreamAuditLog
from config.streams import UnblockedStream
from core.errors import AuditUnavailableError
from tests.contracts.audit_log_contract import event
from tests.support.tools import REPOSITORY_ROOT

WRITER = """
import asyncio, sys
from pathlib import Path
from adapters.audit_log.file import FileAuditLog
from tests.contracts.audit_log_contract import event

async def main():
    async with FileAuditLog(Path(sys.argv[1])) as log:
        for number in range(int(sys.argv[3])):
            await log.record(event(request_id=f"{sys.argv[2]}-{number}"))

asyncio.run(main())
"""
FULL = """
import asyncio, resource, sys
from pathlib import Path
from adapters.audit_log.file import FileAuditLog
from core.errors import AuditUnavailableError
from tests.contracts.audit_log_contract import event

async def main():
    path = Path(sys.argv[1])
    async with FileAuditLog(path) as log:
        await log.record(event(request_id="before"))
        size = path.stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, resource.RLIM_INFINITY))
        try:
            await log.record(event(request_id="lost"))
        except AuditUnavailableError as error:
            print(error)
        assert path.stat().st_size == size, "a part of the line stayed"
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await log.record(event(request_id="after"))

asyncio.run(main())
"""


def ids(path: Path) -> list[str]:
    return [json.loads(line)["request_id"] for line in path.read_text().splitlines()]


def run(script: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments], cwd=REPOSITORY_ROOT, stdout=subprocess.PIPE, text=True
    )


async def test_renamed_file_is_left_and_a_new_one_created(tmp_path):
    path = tmp_path / "audit.jsonl"
    async with FileAuditLog(path) as log:
        await log.record(event(request_id="1"))
        path.rename(tmp_path / "audit.jsonl.1")
        await log.record(event(request_id="2"))
        path.unlink()
        await log.record(event(request_id="3"))
    assert ids(tmp_path / "audit.jsonl.1") == ["1"]
    assert ids(path) == ["3"]


async def test_file_is_for_its_owner_and_readers_of_the_group(tmp_path):
    async with FileAuditLog(tmp_path / "audit.jsonl") as log:
        await log.record(event())
    assert stat.S_IMODE((tmp_path / "audit.jsonl").stat().st_mode) & 0o137 == 0


def test_processes_keep_lines_intact_while_the_file_is_rotated(tmp_path):
    path, count = tmp_path / "audit.jsonl", 300
    writers = [run(WRITER, str(path), str(number), str(count)) for number in range(3)]
    rotated: list[Path] = []
    while any(writer.poll() is None for writer in writers):
        if path.exists() and path.stat().st_size > 5000:
            rotated.append(tmp_path / f"audit.{len(rotated)}")
            path.rename(rotated[-1])
    assert [writer.communicate(timeout=60)[0] for writer in writers] == ["", "", ""]
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    found = [name for file in [*rotated, path] if file.exists() for name in ids(file)]
    assert len(rotated) > 1
    assert sorted(found) == sorted(f"{writer}-{number}" for writer in range(3) for number in range(count))


async def test_unfinished_line_of_a_killed_process_damages_no_other(tmp_path):
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b'{"log": "audit", "ti')
    async with FileAuditLog(path) as log:
        await log.record(event(request_id="1"))
        await log.record(event(request_id="2"))
    torn, *whole = path.read_text().splitlines()
    assert torn == '{"log": "audit", "ti'
    assert [json.loads(line)["request_id"] for line in whole] == ["1", "2"]


def test_full_disk_leaves_no_part_of_a_line(tmp_path):
    path = tmp_path / "audit.jsonl"
    writer = run(FULL, str(path))
    output, _ = writer.communicate(timeout=60)
    assert writer.returncode == 0
    assert output == f"the audit log {path} cannot be written: File too large\n"
    assert ids(path) == ["before", "after"]


async def test_failure_reaches_all_waiting_callers_and_no_later_one(tmp_path):
    path = tmp_path / "folder" / "audit.jsonl"
    async with FileAuditLog(path) as log:
        with pytest.raises(AuditUnavailableError, match="No such file"):
            log.check()
        results = await asyncio.wait([asyncio.create_task(log.record(event())) for _ in range(5)])
        assert all(isinstance(task.exception(), AuditUnavailableError) for task in results[0])
        path.parent.mkdir()
        log.check()
        await log.record(event(request_id="1"))
    assert ids(path) == ["1"]


async def test_closed_stream_is_an_error():
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    log = StreamAuditLog(UnblockedStream(writing))
    with pytest.raises(AuditUnavailableError, match="standard output"):
        log.check()
    with pytest.raises(AuditUnavailableError, match="standard output"):
        await log.record(event())
