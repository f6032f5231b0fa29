"""The container builds a registry from every combination of adapters."""

import sys
import threading
from itertools import product

import pytest
from dependency_injector.errors import Error

from adapters.blob_storage.s3 import S3Options
from adapters.blob_storage.scs import ScsOptions
from adapters.descriptor_cache.memory import InMemoryDescriptorCache
from config.container import Container, HashingThreads, new_id, utc_now
from config.errors import ConfigError
from config.settings import (
    CatalogBackend,
    CatalogSettings,
    DescriptorCache,
    RedisOptions,
    Secret,
    Settings,
    StorageKind,
    StorageSettings,
)
from core.ports.blob_storage import BlobStorage
from core.ports.catalog_index import CatalogIndex
from core.registry.facade import Registry


def settings_for(kind: StorageKind, backend: CatalogBackend, cache: DescriptorCache | None) -> Settings:
    scs = ScsOptions(access_key="a", secret_key=Secret("s"), region="bjcnc", bucket="b")
    return Settings(
        storage=StorageSettings(
            kind=kind, scs=scs, s3=S3Options(bucket="b", secret_key=Secret("s")), blob_descriptor_cache=cache
        ),
        catalog=CatalogSettings(backend=backend, mysql_dsn=Secret("u:p@tcp(h:1)/d")),
        redis=RedisOptions(addrs=("r:6379",)),
    )


@pytest.mark.parametrize(
    ("kind", "backend", "cache"), list(product(StorageKind, CatalogBackend, [None, *DescriptorCache]))
)
def test_every_combination_is_built(kind: StorageKind, backend: CatalogBackend, cache: DescriptorCache | None) -> None:
    container = Container(settings=settings_for(kind, backend, cache))
    registry = container.registry()
    storage, index = container.blob_storage(), container.catalog_index()
    assert isinstance(registry, Registry)
    assert isinstance(storage, BlobStorage)
    assert isinstance(index, CatalogIndex)
    assert (storage.name, index.name) == (kind.value, backend.value.lower())
    assert container.blob_storage() is storage
    assert container.registry() is registry


def test_containers_share_nothing() -> None:
    first, second = (Container(settings=Settings()) for _ in range(2))
    assert first.blob_storage() is not second.blob_storage()


@pytest.mark.parametrize("settings", [None, {}, "settings"])
def test_wrong_settings_are_refused_at_once(settings: object) -> None:
    with pytest.raises((Error, TypeError)):
        Container(settings=settings).registry()


def test_ids_differ_and_time_has_a_zone() -> None:
    assert new_id() != new_id()
    assert utc_now().utcoffset() is not None


def test_wrong_database_address_is_a_configuration_error() -> None:
    catalog = CatalogSettings(backend=CatalogBackend.MYSQL, mysql_dsn=Secret("hunter2@host"))
    with pytest.raises(ConfigError) as raised:
        Container(settings=Settings(catalog=catalog)).registry()
    [problem] = raised.value.problems
    assert problem.startswith("`catalog.mysql.dsn` (SEARCH_BACKEND_MYSQL): ")
    assert "hunter2" not in problem


def test_zero_means_no_limit_of_cached_descriptors() -> None:
    storage = StorageSettings(blob_descriptor_cache=DescriptorCache.INMEMORY, blob_descriptor_cache_entries_max=0)
    cache = Container(settings=Settings(storage=storage)).descriptor_cache()
    assert isinstance(cache, InMemoryDescriptorCache)
    assert cache.entries_max == sys.maxsize


async def test_hashing_runs_beside_the_event_loop() -> None:
    threads = HashingThreads()
    assert await threads(threading.get_ident) != threading.get_ident()
