from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.catalog_index.local_file import LocalFileCatalogIndex
from tests.contracts.catalog_index_contract import SharedCatalogIndexContract

# Other tests run the same lines; measuring coverage here would double the time of this file.
pytestmark = pytest.mark.unmeasured


class TestLocalFileCatalogIndex(SharedCatalogIndexContract):
    @pytest.fixture
    async def index(self, tmp_path: Path) -> AsyncIterator[LocalFileCatalogIndex]:
        async with LocalFileCatalogIndex(tmp_path / "repositories") as index:
            yield index

    @pytest.fixture
    async def second(self, tmp_path: Path) -> AsyncIterator[LocalFileCatalogIndex]:
        async with LocalFileCatalogIndex(tmp_path / "repositories") as second:
            yield second

    @pytest.fixture(autouse=True)
    def leave_only_names_behind(self, tmp_path: Path):
        yield
        assert [path.name for path in tmp_path.iterdir()] == ["repositories"]
        lines = (tmp_path / "repositories").read_text().splitlines(keepends=True)
        assert len(set(lines)) == len(lines)
        assert all(line.endswith("\n") and not line.startswith("#") for line in lines)
