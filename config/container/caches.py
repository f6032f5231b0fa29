"""Construction of descriptor caches from the settings."""

import sys
from collections.abc import Callable as CallableType
from collections.abc import Sequence

from adapters.descriptor_cache.instrumented import InstrumentedDescriptorCache
from adapters.descriptor_cache.memory import DisabledDescriptorCache, HintCache
from adapters.metrics.storage import CacheCounts
from config.container.surroundings import boot_clock
from config.errors import ConfigError
from config.settings import DescriptorCache, RedisOptions, StorageKind, StorageSettings
from core.model.digest import Digest
from core.ports.descriptor_cache import DescriptorCache as DescriptorCachePort
from core.ports.metrics import Metrics
from core.registry.target_memory import TargetMemory
from core.store.manifest_cache import ManifestCache


def observed_descriptor_cache(cache: DescriptorCachePort, metrics: Metrics | None) -> DescriptorCachePort:
    """Return the cache, with metrics if they are collected."""
    # The metrics of a cache that never answers would look like those of a cache that always misses.
    if metrics is None or isinstance(cache, DisabledDescriptorCache | HintCache):
        return cache
    return InstrumentedDescriptorCache(cache, observe=CacheCounts(metrics))


def kind_of_cache(settings: StorageSettings) -> str:
    """Return which cache the settings select."""
    configured = settings.blob_descriptor_cache
    if configured is None:
        return "hints" if answers_over_a_network(settings.kind) else DescriptorCache.NONE.value
    return configured.value


def answers_over_a_network(kind: StorageKind) -> bool:
    """Whether a request to the store costs milliseconds, so that requests are saved."""
    return kind in {StorageKind.S3, StorageKind.SCS}


def target_memory(settings: StorageSettings) -> TargetMemory | None:
    """Return the memory of what tags point at; None for a store whose requests cost microseconds."""
    if not answers_over_a_network(settings.kind):
        return None
    if settings.blob_descriptor_cache is DescriptorCache.NONE:
        return TargetMemory(boot_clock, trust_seconds=0)
    return TargetMemory(boot_clock)


def redis_cache(options: RedisOptions, metrics: Metrics | None) -> DescriptorCachePort:
    """Return the cache that replicas share.

    Raises:
        ConfigError: a certificate file cannot be read.
    """
    from adapters.descriptor_cache.redis import RedisDescriptorCache  # noqa: PLC0415

    try:
        # The cache reads them only when it is opened.
        options.tls.root_certificates()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"`redis.tls.rootcas`: cannot be read: {error}"]) from None
    if metrics is None:
        return RedisDescriptorCache(options, clock=boot_clock)
    return RedisDescriptorCache(options, clock=boot_clock, on_error=CacheCounts(metrics).failed)


def proves(cache: DescriptorCache | None) -> bool:
    """Whether the configured cache answers pushes."""
    return cache not in {None, DescriptorCache.NONE}


def entries_max(configured: int) -> int:
    """Return the limit of a cache; 0 in the settings means no limit."""
    return configured or sys.maxsize


def related_of(cache: ManifestCache) -> CallableType[[Digest], Sequence[Digest]]:
    """Return the function that lists the content a cached manifest refers to."""
    # Not `provided.related`: that is an attribute of the provider itself.
    return cache.related
