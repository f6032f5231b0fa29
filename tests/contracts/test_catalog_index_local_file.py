from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.catalog_index.local_file import LocalFileCatalogIndex
from tests.contracts.catalog_index_contract import stream
from tests.contracts.catalog_index_loss_contract import LosableCatalogIndexContract

# Other tests run the same lines; measuring coverage here would double the time of this file.
pytestmark = pytest.mark.unmeasured


class TestLocalFileCatalogIndex(LosableCatalogIndexContract):
    @pytest.fixture
    async def index(self, tmp_path: Path) -> AsyncIterator[LocalFileCatalogIndex]:
        async with LocalFileCatalogIndex(tmp_path / "repositories") as index:
            await index.replace_all(stream([]))
            yield index

    @pytest.fixture
    async def second(self, tmp_path: Path) -> AsyncIterator[LocalFileCatalogIndex]:
        async with LocalFileCatalogIndex(tmp_path / "repositories") as second:
            yield second

    @pytest.fixture(autouse=True)
    def use_path(self, tmp_path: Path) -> None:
        self.path = tmp_path / "repositories"

    def lose(self) -> None:
        self.path.unlink()

    @pytest.fixture(autouse=True)
    def leave_only_names_behind(self, tmp_path: Path):
        yield
        assert [path.name for path in tmp_path.iterdir()] in (["repositories"], [])
        lines = self.path.read_text().splitlines(keepends=True) if self.path.exists() else []
        assert len(set(lines)) == len(lines)
        assert all(line.endswith("\n") and not line.startswith("#") for line in lines)
