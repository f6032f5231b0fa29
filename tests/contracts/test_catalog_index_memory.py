import pytest

from adapters.catalog_index.memory import InMemoryCatalogIndex
from core.names import RepositoryName
from tests.contracts.catalog_index_contract import StoredCatalogIndexContract, all_names, stream


class TestInMemoryCatalogIndex(StoredCatalogIndexContract):
    @pytest.fixture
    def index(self) -> InMemoryCatalogIndex:
        return InMemoryCatalogIndex()

    async def test_name_removed_during_replace_all_stays_out(self, index):
        async def delete_meanwhile():
            yield RepositoryName("a")
            await index.remove(RepositoryName("a"))
            yield RepositoryName("b")

        await index.replace_all(delete_meanwhile())
        assert await all_names(index) == ["b"]
        await index.replace_all(stream(["a"]))
        assert await all_names(index) == ["a"]
