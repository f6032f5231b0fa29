"""Contract of every audit log; subclasses provide `log` and, where lines can be read back, `lines`."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from core.ports.audit_log import AuditAction, AuditEvent, AuditLog, Stage

AT = datetime(2026, 11, 24, 12, 30, 5, 123, tzinfo=UTC)


def event(**changes: Any) -> AuditEvent:
    return AuditEvent(**{"at": AT, "action": AuditAction.MANIFEST_PUSH, **changes})


class AuditLogContract:
    KEEPS = True
    """Whether lines can be read back."""

    @pytest.fixture
    async def log(self) -> AuditLog:
        raise NotImplementedError

    @pytest.fixture
    def lines(self):
        """Return a function that reads all lines."""
        return list

    async def test_event_is_one_line(self, log, lines):
        log.check()
        await log.record(
            event(
                stage=Stage.ASKED,
                allowed=False,
                actor="alice",
                repository="team/app",
                tags=("v1", "v2"),
                digest="sha256:00",
                client="192.0.2.1",
                method="PUT",
                status=403,
                error="DENIED",
                request_id="r-1",
            )
        )
        if self.KEEPS:
            assert [json.loads(line) for line in lines()] == [
                {
                    "log": "audit",
                    "time": "2026-11-24T12:30:05.000123Z",
                    "action": "manifest.push",
                    "stage": "asked",
                    "allowed": False,
                    "actor": "alice",
                    "repository": "team/app",
                    "tags": ["v1", "v2"],
                    "digest": "sha256:00",
                    "client": "192.0.2.1",
                    "method": "PUT",
                    "status": 403,
                    "error": "DENIED",
                    "request_id": "r-1",
                }
            ]

    async def test_empty_fields_are_left_out(self, log, lines):
        await log.record(event())
        if self.KEEPS:
            assert json.loads(lines()[0]).keys() == {"log", "time", "action", "stage"}

    async def test_line_cannot_be_forged(self, log, lines):
        hostile = 'a\n{"action":"login"}\r\x00\x1b\u2028\udcff"\\'
        await log.record(event(repository=hostile, actor=hostile, tags=(hostile,)))
        if self.KEEPS:
            [line] = lines()
            assert line.isascii()
            assert line.isprintable()
            assert json.loads(line)["repository"] == hostile.replace("\udcff", "\\udcff")

    async def test_lines_of_many_tasks_are_whole_and_in_order(self, log, lines):
        async with asyncio.TaskGroup() as group:
            for number in range(200):
                group.create_task(log.record(event(request_id=str(number))))
        if self.KEEPS:
            assert [json.loads(line)["request_id"] for line in lines()] == [str(number) for number in range(200)]

    async def test_cancelled_caller_affects_no_other(self, log, lines):
        tasks = [asyncio.create_task(log.record(event(request_id=str(number)))) for number in range(20)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.wait(tasks)
        await log.record(event(request_id="last"))
        if self.KEEPS:
            found = [json.loads(line)["request_id"] for line in lines()]
            assert found[-1] == "last"
            assert {str(number) for number in range(1, 20, 2)} <= set(found)
            assert len(found) == len(set(found))
