"""Construction of the services that survey, fill and empty the cache, shared by the command and the server."""

import asyncio
import secrets
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from config.settings import ProxySettings
from core.collection.listing import Lister
from core.collection.pins import Pins
from core.collection.rounds import Rounds
from core.collection.run import CollectorContext
from core.coordination.budget import Budget, Rates
from core.coordination.paced_store import PacedStore
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.pull_through.eviction import Evictor, EvictorContext
from core.pull_through.limiting import LimitKeeper, Limits
from core.pull_through.survey import CachedImage, Surveyor
from core.pull_through.tag_state import TagStates
from core.pull_through.usage import CacheUsage
from core.pull_through.warming import Warmer
from core.retention.pulls import PullHistory
from core.store.tag_links import TagLinks
from core.trash.store import Trash

if TYPE_CHECKING:
    from config.container import RegistryApplication

_KEY_BYTES: Final = 16


def new_surveyor(application: "RegistryApplication") -> Surveyor:
    """Return the surveyor of the cache of an application, which is open."""
    store = _store(application)
    return Surveyor(
        store,
        Lister(store, application.links),
        PullHistory(application.storage, new_id=secrets.token_hex),
        store_clock=application.store_clock,
        is_cached=application.origins.is_cached,
    )


def new_evictor(
    application: "RegistryApplication", proxy: ProxySettings, *, is_offline: bool = False, goes_on: Callable[[], bool]
) -> Evictor:
    """Return an evictor for the cache of an application, which is open.

    Args:
        application: the registry.
        proxy: the settings of the cache.
        is_offline: whether no server uses the store.
        goes_on: called regularly; False ends the eviction early.
    """
    storage, store = application.storage, _store(application)
    collecting = application.settings.storage.garbage_collection
    context = EvictorContext(
        tag_links=TagLinks(storage, application.links),
        trash=Trash(
            storage,
            now=application.now,
            new_id=secrets.token_hex,
            keep=timedelta(0),
            store_clock=application.store_clock,
        ),
        cache=application.descriptor_cache,
        pins=Pins(storage),
        rounds=Rounds(storage),
        collector=CollectorContext(
            clock=time.monotonic,
            sleep=asyncio.sleep,
            new_key=lambda: secrets.token_bytes(_KEY_BYTES),
            goes_on=goes_on,
            offload=application.offload,
        ),
        settle_seconds=collecting.settle_seconds,
        grace=timedelta(seconds=collecting.grace_seconds),
        keeps=lambda image: keeps(proxy, image),
        forget_tags=TagStates(storage).remove,
        forget_repository=application.registry.record_eviction,
        is_offline=is_offline,
    )
    return Evictor(store, Lister(store, application.links), new_surveyor(application), CacheUsage(storage), context)


def new_limit_keeper(application: "RegistryApplication", proxy: ProxySettings, evictor: Evictor) -> LimitKeeper:
    """Return the keeper of the configured limits."""
    storage, unused = application.storage, proxy.unused_seconds
    limits = Limits(
        size_max=proxy.limits.size_bytes or None,
        free_min=proxy.limits.free.of,
        unused=None if unused is None else timedelta(seconds=unused),
    )
    return LimitKeeper(evictor, storage, CacheUsage(storage), application.store_clock, limits)


def new_warmer(application: "RegistryApplication") -> Warmer:
    """Return a warmer, whose fetches count as pulls of the images."""
    registry = application.registry

    def note_use(name: RepositoryName, digest: Digest) -> None:
        if registry.pulls is not None:
            registry.pulls.note(name, digest)

    return Warmer(application.storage, registry.manifests, registry.blobs, note_use=note_use)


def keeps(proxy: ProxySettings, image: CachedImage) -> bool:
    """Whether the configuration keeps an image, whatever the limits."""
    return any(proxy.limits.keeps(image.name, tag) for tag in image.tags)


def _store(application: "RegistryApplication") -> PacedStore:
    return PacedStore(application.storage, Budget(Rates(), clock=time.monotonic, sleep=asyncio.sleep))
