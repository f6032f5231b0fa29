"""Contract tests of image layouts in folders and archives."""

import subprocess

import pytest

from adapters.image_layout.archive import ArchiveImageLayout, ArchiveImageLayoutWriter
from adapters.image_layout.folder import FolderImageLayout
from tests.contracts.image_layout_contract import ImageLayoutContract


class TestFolderImageLayout(ImageLayoutContract):
    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "layout"

    def writer(self, path):
        return FolderImageLayout(path, creates=True)

    def reader(self, path):
        return FolderImageLayout(path)


class ArchiveImageLayoutContract(ImageLayoutContract):
    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "layout.tar"

    def writer(self, path):
        return ArchiveImageLayoutWriter(path)

    def reader(self, path):
        return ArchiveImageLayout(path)


class TestArchiveImageLayout(ArchiveImageLayoutContract):
    pass


class TestArchiveImageLayoutWriter(ArchiveImageLayoutContract):
    """Reads the written archive with another tar reader."""

    def reader(self, path):
        unpacked = path.parent.parent / f"{path.parent.name}-unpacked"
        if path.exists():
            unpacked.mkdir()
            subprocess.run(["tar", "--extract", "--file", path, "--directory", unpacked], timeout=60, check=True)
        return FolderImageLayout(unpacked)
