"""Contract tests of registries that images are copied to."""

import pytest

from adapters.catalog_index.memory import InMemoryCatalogIndex
from adapters.registry_target.memory import InMemoryRegistryTarget
from core.model.events import Actor
from core.transfer.store_target import StoreTarget
from tests.contracts.registry_target_contract import DeletingRegistryTargetContract
from tests.support.core_services import CoreServices


class TestInMemoryRegistryTarget(DeletingRegistryTargetContract):
    @pytest.fixture
    def target(self):
        return InMemoryRegistryTarget()


class TestStoreTarget(DeletingRegistryTargetContract):
    @pytest.fixture
    async def target(self):
        registry = CoreServices().registry(InMemoryCatalogIndex())
        async with StoreTarget(registry, by=Actor("a copy"), transfer_id="t") as target:
            yield target
