"""Contract tests of the spool in memory and in a folder."""

import errno
import os

import pytest

from adapters.spool.folder import FolderSpool
from adapters.spool.memory import InMemorySpool, SpoolMemory
from tests.contracts.spool_contract import SpoolContract
from tests.support.core_services import in_a_thread


class TestInMemorySpool(SpoolContract):
    @pytest.fixture
    def memory(self):
        return SpoolMemory()

    @pytest.fixture
    def make(self, memory):
        return lambda **limits: InMemorySpool(memory, **limits)

    @pytest.fixture
    def fill_disk(self, memory):
        def fill() -> None:
            memory.bytes_max = 1000

        return fill


class TestFolderSpool(SpoolContract):
    @pytest.fixture
    def make(self, tmp_path):
        return lambda **limits: FolderSpool(str(tmp_path / "spool"), offload=in_a_thread, **limits)

    @pytest.fixture
    def fill_disk(self, monkeypatch):
        write = os.pwrite

        def write_half(descriptor, content, offset):
            # A full disk takes a part of the bytes first.
            if len(content) < 3:
                raise OSError(errno.ENOSPC, "no space")
            return write(descriptor, content[: len(content) // 2], offset)

        return lambda: monkeypatch.setattr(os, "pwrite", write_half)
