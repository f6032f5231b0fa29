"""Construction of descriptor caches from the settings."""

import sys
from collections.abc import Callable as CallableType
from collections.abc import Sequence

from adapters.descriptor_cache.instrumented import InstrumentedDescriptorCache
from adapters.descriptor_cache.memory import DisabledDescriptorCache
from adapters.metrics.storage import CacheCounts
from config.container.surroundings import boot_clock
from config.errors import ConfigError
from config.settings import DescriptorCache, RedisOptions
from core.model.digest import Digest
from core.ports.descriptor_cache import DescriptorCache as DescriptorCachePort
from core.ports.metrics import Metrics
from core.store.manifest_cache import ManifestCache


def observed_descriptor_cache(cache: DescriptorCachePort, metrics: Metrics | None) -> DescriptorCachePort:
    """Return the cache, with metrics if they are collected."""
    # The metrics of a cache that stores nothing would look like those of a cache that always misses.
    if metrics is None or isinstance(cache, DisabledDescriptorCache):
        return cache
    return InstrumentedDescriptorCache(cache, observe=CacheCounts(metrics))


def kind_of_cache(configured: DescriptorCache | None) -> str:
    """Return the name of the configured kind."""
    return "disabled" if configured is None else configured.value


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


def is_configured(cache: DescriptorCache | None) -> bool:
    """Whether a cache is configured."""
    return cache is not None


def entries_max(configured: int) -> int:
    """Return the limit of a cache; 0 in the settings means no limit."""
    return configured or sys.maxsize


def related_of(cache: ManifestCache) -> CallableType[[Digest], Sequence[Digest]]:
    """Return the function that lists the content a cached manifest refers to."""
    # Not `provided.related`: that is an attribute of the provider itself.
    return cache.related
