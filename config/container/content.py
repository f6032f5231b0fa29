"""Services for content, with or without a pull-through cache.

The modules of the cache are imported only if an upstream is configured.
"""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from config.settings import Settings
from core.content_source import Offload
from core.coordination.read_only import ReadOnlySwitch
from core.model.names import RepositoryName
from core.ports.blob_storage import BlobStorage
from core.ports.metrics import Metrics
from core.pull_through.origins import LOCAL_ONLY, Origins
from core.registry.blobs import BlobService
from core.registry.catalog import CatalogService
from core.registry.manifests import ManifestService
from core.registry.parts import BlobParts, ManifestParts
from core.registry.referrers import ReferrerService
from core.registry.repositories import RepositoryService
from core.registry.tags import TagService
from core.summaries.changes import ChangeRecorder

if TYPE_CHECKING:
    from config.container.pull_through import PullThrough


def make_pull_through(
    settings: Settings, *, storage: BlobStorage, offload: Offload, metrics: Metrics | None
) -> "PullThrough | None":
    """Return the cache, or None if no upstream is configured."""
    if settings.proxy is None:
        return None
    from config.container.pull_through import open_cache  # noqa: PLC0415

    return open_cache(settings, settings.proxy, storage=storage, offload=offload, metrics=metrics)


def make_blobs(cache: "PullThrough | None", parts: BlobParts, **tools: Any) -> BlobService:
    """Return the service for blobs."""
    return BlobService(parts) if cache is None else cache.blobs(parts, **tools)


def make_manifests(
    cache: "PullThrough | None",
    parts: ManifestParts,
    *,
    catalog: CatalogService,
    read_only: ReadOnlySwitch,
    now: Callable[[], datetime],
    changes: ChangeRecorder,
) -> ManifestService:
    """Return the service for manifests."""
    if cache is None:
        return ManifestService(parts)
    return cache.manifests(parts, catalog=catalog, read_only=read_only, now=now, changes=changes)


def make_tags(cache: "PullThrough | None", *, clock: Callable[[], float], **parts: Any) -> TagService:
    """Return the service for tag lists."""
    return TagService(**parts) if cache is None else cache.tags(clock=clock, **parts)


def make_referrers(cache: "PullThrough | None", *, clock: Callable[[], float], **parts: Any) -> ReferrerService:
    """Return the service for referrers."""
    return ReferrerService(**parts) if cache is None else cache.referrers(clock=clock, **parts)


def make_repositories(cache: "PullThrough | None", **parts: Any) -> RepositoryService:
    """Return the service that deletes repositories."""
    return RepositoryService(**parts) if cache is None else cache.repositories(**parts)


def origins_of(cache: "PullThrough | None") -> Origins:
    """Return the upstreams of a cache; none without a cache."""
    return LOCAL_ONLY if cache is None else cache.origins


def listing_rule(origins: Origins) -> Callable[[RepositoryName], bool] | None:
    """Return which repositories the catalog may list; None if there are only local ones."""
    return origins.is_listed if origins.upstreams else None


def renewable_in(cache: "PullThrough | None") -> Callable[[RepositoryName], bool] | None:
    """Return whether a repository's content can be fetched again; None if none can."""
    return None if cache is None else cache.origins.is_cached
