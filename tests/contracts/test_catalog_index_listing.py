from collections.abc import Iterable
from datetime import UTC, datetime

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.catalog_index.listing import ListingCatalogIndex
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.ports.catalog_index import CatalogIndex
from core.store import layout
from tests.contracts.catalog_index_contract import CatalogIndexContract, as_names

DIGEST = Digest("sha256:" + "a" * 64)


class TestListingCatalogIndex(CatalogIndexContract):
    MANY = 2_000

    @pytest.fixture
    def storage(self) -> InMemoryBlobStorage:
        return InMemoryBlobStorage(now=lambda: datetime(2026, 11, 24, tzinfo=UTC))

    @pytest.fixture(autouse=True)
    def use_storage(self, storage: InMemoryBlobStorage) -> None:
        self.beneath = storage

    @pytest.fixture
    def index(self, storage: InMemoryBlobStorage) -> ListingCatalogIndex:
        return ListingCatalogIndex(storage)

    async def put(self, index: CatalogIndex, texts: Iterable[str]) -> None:
        for name in as_names(texts):
            await self.beneath.write(layout.layer_link(name, DIGEST), DIGEST.encode())
            await index.add(name)

    async def take(self, index: CatalogIndex, text: str) -> None:
        name = RepositoryName(text)
        # Delete only the repository's own content: another repository may lie below its path.
        await self.beneath.delete([layout.layer_link(name, DIGEST)])
        await index.remove(name)
