from collections.abc import AsyncIterator

import pytest

from adapters.catalog_index.memory import InMemoryCatalogIndex
from tests.contracts.catalog_index_contract import StoredCatalogIndexContract


class TestInMemoryCatalogIndex(StoredCatalogIndexContract):
    @pytest.fixture
    async def index(self) -> AsyncIterator[InMemoryCatalogIndex]:
        async with InMemoryCatalogIndex() as index:
            yield index
