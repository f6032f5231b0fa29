"""The container builds a registry from every combination of adapters."""

import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from dependency_injector.errors import Error
from typing_extensions import is_protocol

from adapters.blob_storage.s3 import S3Options
from adapters.blob_storage.s3.presets import GcsOptions, OssOptions, SwiftOptions
from adapters.blob_storage.scs import ScsOptions
from adapters.descriptor_cache.memory import InMemoryDescriptorCache
from config.container import (
    Observers,
    ServerParts,
    StoreApplication,
    build_registry,
    build_server,
    build_server_parts,
    build_store,
    new_id,
    utc_now,
)
from config.container.graph import Container
from config.errors import ConfigError
from config.settings import (
    CatalogBackend,
    CatalogSettings,
    DescriptorCache,
    OutboxBackend,
    OutboxSettings,
    ProxySettings,
    RedisOptions,
    Secret,
    Settings,
    StorageKind,
    StorageSettings,
)
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.ports.blob_storage import BlobStorage
from core.ports.catalog_index import CatalogIndex
from core.registry.facade import Registry
from entrypoints.opening import opened
from tests.support.late_types import LATE_TYPES

DIGEST = Digest.of(b"content")


def settings_for(kind: StorageKind, backend: CatalogBackend, cache: DescriptorCache | None) -> Settings:
    scs = ScsOptions(access_key="a", secret_key=Secret("s"), region="bjcnc", bucket="b")
    return Settings(
        storage=StorageSettings(
            kind=kind,
            scs=scs,
            s3=S3Options(bucket="b", secret_key=Secret("s")),
            gcs=GcsOptions(bucket="b"),
            oss=OssOptions(bucket="b", region="oss-cn-beijing"),
            swift=SwiftOptions(container="b", s3_endpoint="http://s"),
            blob_descriptor_cache=cache,
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


def built(settings: Settings) -> Sequence[StoreApplication | ServerParts]:
    parts = build_server_parts(settings)
    return [build_store(settings), build_registry(settings), parts, build_server(parts, Observers())]


@pytest.mark.parametrize(
    ("kind", "backend", "cache"), list(product(StorageKind, CatalogBackend, [None, *DescriptorCache]))
)
def test_application_objects_hold_what_their_types_promise(
    kind: StorageKind, backend: CatalogBackend, cache: DescriptorCache | None
) -> None:
    for application in built(settings_for(kind, backend, cache)):
        for name, hint in get_type_hints(type(application), localns=LATE_TYPES).items():
            assert holds(getattr(application, name), hint), f"{type(application).__name__}.{name}"


def holds(value: object, hint: Any) -> bool:
    if isinstance(hint, UnionType):
        return any(holds(value, each) for each in get_args(hint))
    kind = get_origin(hint) or hint
    return callable(value) if is_protocol(kind) else isinstance(value, kind)


@pytest.mark.parametrize("outbox", OutboxBackend)
def test_every_part_that_can_be_opened_has_its_lifetime(outbox: OutboxBackend, tmp_path: Path) -> None:
    settings = settings_for(StorageKind.FILESYSTEM, CatalogBackend.LOCAL, DescriptorCache.INMEMORY)
    notifications = replace(settings.notifications, outbox=OutboxSettings(backend=outbox, path=str(tmp_path)))
    proxy = ProxySettings(remote_url="http://127.0.0.1:9")
    for application in built(replace(settings, notifications=notifications, proxy=proxy)):
        if isinstance(application, StoreApplication):
            parts = {id(part) for part in vars(application).values() if isinstance(part, AbstractAsyncContextManager)}
            assert parts == {id(part) for part in application.lifetimes}


async def test_processes_of_a_server_share_what_was_checked_before_the_fork() -> None:
    parts = build_server_parts(settings_for(StorageKind.INMEMORY, CatalogBackend.LISTING, DescriptorCache.INMEMORY))
    first, second = (build_server(parts, Observers()) for _ in range(2))
    assert first.authenticator is second.authenticator is parts.authenticator
    assert first.audit_log is second.audit_log is parts.audit_log
    assert first.upload_secret == second.upload_secret == parts.upload_secret
    async with opened(first), opened(second):
        await first.descriptor_cache.put(RepositoryName("a"), DIGEST, 1)
        await second.descriptor_cache.put(RepositoryName("a"), DIGEST, 1)
        await first.descriptor_cache.forget(RepositoryName("a"), DIGEST)
        assert await second.descriptor_cache.get(RepositoryName("a"), DIGEST) is None
        for each in (first, second):
            session = await each.registry.uploads.start(RepositoryName("a"))
            assert parts.untouched_sessions.take(session.upload_id)


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
