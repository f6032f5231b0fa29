"""Contract tests of the audit logs."""

import os

import pytest

from adapters.audit_log.file import FileAuditLog
from adapters.audit_log.stream import DisabledAuditLog, StreamAuditLog
from config.streams import UnblockedStream
from tests.contracts.audit_log_contract import AuditLogContract
from tests.contracts.audit_trail_contract import AuditTrailContract


class TestFileAuditLog(AuditLogContract):
    @pytest.fixture(params=[False, True], ids=["", "fsync"])
    async def log(self, tmp_path, request):
        async with FileAuditLog(tmp_path / "audit.jsonl", sync=request.param) as log:
            yield log

    @pytest.fixture
    def lines(self, tmp_path):
        return lambda: (tmp_path / "audit.jsonl").read_text().split("\n")[:-1]


class TestFileAuditTrail(AuditTrailContract):
    @pytest.fixture
    async def log(self, tmp_path):
        async with FileAuditLog(tmp_path / "audit.jsonl") as log:
            yield log


class TestStreamAuditLog(AuditLogContract):
    @pytest.fixture
    def pipe(self):
        reading, writing = os.pipe()
        yield reading, writing
        os.close(reading)
        os.close(writing)

    @pytest.fixture
    async def log(self, pipe):
        async with StreamAuditLog(UnblockedStream(pipe[1])) as log:
            yield log

    @pytest.fixture
    def lines(self, pipe):
        return lambda: os.read(pipe[0], 65536).decode().split("\n")[:-1]


class TestFileAuditLogOnPipe(AuditLogContract):
    @pytest.fixture
    def pipe(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
        yield reading
        os.close(reading)

    @pytest.fixture
    async def log(self, pipe, tmp_path):
        assert os.fstat(pipe).st_ino == (tmp_path / "pipe").stat().st_ino
        async with FileAuditLog(tmp_path / "pipe", sync=True) as log:
            yield log

    @pytest.fixture
    def lines(self, pipe):
        return lambda: os.read(pipe, 65536).decode().split("\n")[:-1]


class TestDisabledAuditLog(AuditLogContract):
    KEEPS = False

    @pytest.fixture
    async def log(self):
        async with DisabledAuditLog() as log:
            yield log
