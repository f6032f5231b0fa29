import pytest

from adapters.catalog_index.memory import InMemoryCatalogIndex
from tests.contracts.catalog_index_contract import StoredCatalogIndexContract


class TestInMemoryCatalogIndex(StoredCatalogIndexContract):
    @pytest.fixture
    def index(self) -> InMemoryCatalogIndex:
        return InMemoryCatalogIndex()
