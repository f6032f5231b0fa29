"""Construction of descriptor caches from the settings."""

import sys
from collections.abc import Callable as CallableType
from collections.abc import Sequence
from pathlib import Path

from adapters.descriptor_cache.instrumented import InstrumentedDescriptorCache
from adapters.descriptor_cache.memory import DisabledDescriptorCache
from adapters.metrics.storage import CacheCounts
from config.container.surroundings import boot_clock
from config.errors import ConfigError
from config.settings import (
    DescriptorCache,
    RedisSettings,
)
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


def redis_cache(settings: RedisSettings, metrics: Metrics | None) -> DescriptorCachePort:
    """Return the cache that replicas share.

    Raises:
        ConfigError: a certificate file cannot be read.
    """
    from adapters.descriptor_cache.redis import RedisDescriptorCache  # noqa: PLC0415
    from adapters.descriptor_cache.redis_client import RedisOptions, RedisTlsOptions  # noqa: PLC0415

    io_timeout = max(settings.read_timeout_seconds, settings.write_timeout_seconds)
    tls = settings.tls
    options = RedisOptions(
        servers=tuple(_host_and_port(address) for address in settings.addrs),
        master_name=settings.master_name,
        username=settings.username,
        password=settings.password.reveal() if settings.password else None,
        sentinel_username=settings.sentinel_username,
        sentinel_password=settings.sentinel_password.reveal() if settings.sentinel_password else None,
        db=settings.db,
        client_name=settings.client_name,
        protocol=settings.protocol,
        retries_max=settings.retries_max,
        retry_backoff_seconds_min=settings.retry_backoff_seconds_min,
        retry_backoff_seconds_max=settings.retry_backoff_seconds_max,
        dial_timeout_seconds=settings.dial_timeout_seconds,
        io_timeout_seconds=io_timeout,
        pool_timeout_seconds=settings.pool_timeout_seconds or io_timeout + 1,
        connections_max=settings.connections_max or settings.pool_size or None,
        tls=None
        if not tls.is_used
        else RedisTlsOptions(certificate=tls.certificate, key=tls.key, root_certificates=_joined(tls.root_cas)),
    )
    if metrics is None:
        return RedisDescriptorCache(options, clock=boot_clock)
    return RedisDescriptorCache(options, clock=boot_clock, on_error=CacheCounts(metrics).failed)


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]") or "localhost", int(port)


def _joined(paths: Sequence[str]) -> str | None:
    """Return the contents of PEM files, one after the other; None if there are no files."""
    try:
        return "\n".join(Path(path).read_text(encoding="ascii") for path in paths) or None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"`redis.tls.rootcas`: cannot be read: {error}"]) from None


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
