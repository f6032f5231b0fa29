"""The composition root: which adapter stands behind each port, and who is given what.

The graph is built without awaiting anything; whoever uses it enters `blob_storage` and `catalog_index`, in this
order, as context managers, and leaves them in reverse.
"""

import asyncio
import secrets
import sys
import time
import uuid
from collections.abc import Callable as CallableType
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from dependency_injector.containers import DeclarativeContainer
from dependency_injector.providers import Callable, Dependency, Object, Selector, Singleton

from adapters.auth.groups import GroupFile
from adapters.auth.htpasswd import HtpasswdAuthenticator
from adapters.auth.open import OpenAuthenticator
from adapters.auth.silly import SillyAuthenticator
from adapters.blob_storage.filesystem import FilesystemBlobStorage
from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.catalog_index.go_dsn import DsnInvalidError, MySqlAddress, parse_go_dsn
from adapters.catalog_index.listing import ListingCatalogIndex
from adapters.catalog_index.local_file import LocalFileCatalogIndex
from adapters.catalog_index.mysql import MySqlCatalogIndex
from adapters.descriptor_cache.memory import DisabledDescriptorCache, InMemoryDescriptorCache
from adapters.hashing.resumable import hasher_factory
from config.errors import ConfigError
from config.notifications import event_source, outbox_bounds, recorder_options
from config.policies import KeptTags, access_policy, manifest_policy
from config.settings import (
    AuthKind,
    DescriptorCache,
    NotificationSettings,
    S3Settings,
    ScsSettings,
    Secret,
    Settings,
    TokenSettings,
)
from core import layout
from core.access import AccessPolicy
from core.lease import Lease
from core.links import Links
from core.manifest_cache import ManifestCache
from core.notifications.endpoint import Endpoint
from core.notifications.notifier import Notifier
from core.notifications.outbox import Outbox
from core.notifications.recorder import EventRecorder
from core.notifications.upkeep import Upkeep
from core.ports.authenticator import Authenticator
from core.ports.blob_storage import BlobStorage
from core.registry import Registry
from core.services.blobs import BlobService
from core.services.catalog import CatalogService
from core.services.manifests import ManifestService
from core.services.referrers import ReferrerService
from core.services.tags import TagService
from core.services.uploads import UploadService
from core.tag_links import TagLinks

T = TypeVar("T")


def utc_now() -> datetime:
    """Tell the time."""
    return datetime.now(UTC)  # noqa: TID251 - the one clock that the others are given


def new_id() -> str:
    """Make the id of an upload session or an event."""
    return str(uuid.uuid4())


def _process_name() -> str:
    return secrets.token_hex(4)


class HashingThreads:
    """Hashes off the event loop, in as many threads as there are cores: hashing releases the interpreter lock."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(thread_name_prefix="hashing")

    def __call__(self, function: CallableType[..., Any], *arguments: Any) -> "asyncio.Future[Any]":
        """Start `function(*arguments)` at once and return what to await for its result."""
        return asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)


def _options(options: type[T], settings: S3Settings | ScsSettings) -> T:
    """Make an adapter's options, whose fields have the names of ours; secrets go no further than this."""
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    return options(**{name: value.reveal() if isinstance(value, Secret) else value for name, value in values.items()})


# What is imported in the functions below is large, and most registries do without it: the SDK of object stores takes
# longer to import than all the rest, and 25 MB.


def _s3_blob_storage(settings: S3Settings) -> BlobStorage:
    from adapters.blob_storage.s3 import S3BlobStorage, S3Options  # noqa: PLC0415

    return S3BlobStorage(_options(S3Options, settings))


def _scs_blob_storage(settings: ScsSettings) -> BlobStorage:
    from adapters.blob_storage.scs import ScsBlobStorage, ScsOptions  # noqa: PLC0415

    return ScsBlobStorage(_options(ScsOptions, settings))


def _descriptor_cache_kind(configured: DescriptorCache | None) -> str:
    # Redis is not supported yet; `config.support` says so at start.
    return "inmemory" if configured is DescriptorCache.INMEMORY else "disabled"


def _mysql_address(dsn: Secret) -> MySqlAddress:
    try:
        return parse_go_dsn(dsn.reveal())
    except DsnInvalidError as error:
        raise ConfigError([f"`catalog.mysql.dsn` (SEARCH_BACKEND_MYSQL): {error}"]) from None


def _shared_secret(configured: Secret | None) -> bytes:
    # A random one serves a single process until it ends; `serve` warns.
    return configured.reveal().encode() if configured else secrets.token_bytes(32)


def _group_file(path: str | None) -> GroupFile | None:
    return GroupFile(path) if path else None


def _authenticator_kind(kind: AuthKind, policy: AccessPolicy) -> str:
    # Where something is open to everybody, docker needs a token server to come without a password.
    return "login" if kind is AuthKind.HTPASSWD and policy.invites_anonymous else kind.value


def _login_authenticator(
    users: HtpasswdAuthenticator, *, secret: bytes, now: CallableType[[], datetime]
) -> Authenticator:
    from adapters.auth.login_tokens import LoginTokenAuthenticator  # noqa: PLC0415

    return LoginTokenAuthenticator(users, recall=users.recall, secret=secret, now=now)


def _token_authenticator(settings: TokenSettings, *, now: CallableType[[], datetime]) -> Authenticator:
    from adapters.auth.token import TokenAuthenticator  # noqa: PLC0415

    return TokenAuthenticator(
        realm=settings.realm,
        issuer=settings.issuer,
        service=settings.service,
        certificates_path=settings.root_cert_bundle,
        key_set_path=settings.jwks,
        algorithms=settings.signing_algorithms,
        redirect_path=settings.auto_redirect_path if settings.auto_redirect else None,
        now=now,
    )


def event_endpoints(settings: NotificationSettings) -> tuple[Endpoint, ...]:
    """Make the endpoints that are told of events; again after a reload."""
    from adapters.notifications.http_receiver import HttpEventReceiver  # noqa: PLC0415

    media_type = recorder_options(settings).envelope.value
    return tuple(
        Endpoint(
            name=each.name,
            receiver=HttpEventReceiver(
                each.url,
                media_type=media_type,
                headers={name: [value.reveal() for value in values] for name, values in each.headers.items()},
                timeout_seconds=each.timeout_seconds,
            ),
            ignored_media_types=frozenset(each.ignored_media_types),
            ignored_actions=frozenset(each.ignored_actions),
            threshold=each.threshold,
            backoff_seconds=each.backoff_seconds,
        )
        for each in settings.endpoints
        if not each.disabled
    )


def _event_recorder(outbox: Outbox, settings: Settings) -> EventRecorder:
    recorder = EventRecorder(
        outbox,
        recorder_options(settings.notifications),
        source=event_source(settings.http.addr, new_id),
        now=utc_now,
        new_id=new_id,
    )
    recorder.use(event_endpoints(settings.notifications))
    return recorder


def _notifier(
    outbox: Outbox, recorder: EventRecorder, storage: BlobStorage, settings: NotificationSettings, process: str
) -> Notifier:
    lease = Lease(
        storage,
        layout.lease("notifications"),
        owner_id=process,
        ttl=settings.outbox.takeover_seconds,
        clock=time.monotonic,
        sleep=asyncio.sleep,
    )
    notifier = Notifier(
        outbox,
        recorder,
        lease,
        Upkeep(outbox, outbox_bounds(settings.outbox), now=utc_now),
        poll_seconds=settings.outbox.poll_seconds,
        clock=time.monotonic,
        sleep=asyncio.sleep,
    )
    notifier.use(event_endpoints(settings), recorder_options(settings))
    return notifier


def _entries_max(configured: int) -> int:
    return configured or sys.maxsize


class Container(DeclarativeContainer):
    """One registry; `settings` must be given."""

    settings = Dependency(instance_of=Settings)

    now = Object(utc_now)
    new_id = Object(new_id)

    blob_storage = Selector(
        settings.provided.storage.kind,
        inmemory=Singleton(InMemoryBlobStorage, now=now),
        filesystem=Singleton(
            FilesystemBlobStorage,
            root_directory=settings.provided.storage.filesystem.root_directory,
            threads_max=settings.provided.storage.filesystem.max_threads,
        ),
        s3=Singleton(_s3_blob_storage, settings.provided.storage.s3),
        scs=Singleton(_scs_blob_storage, settings.provided.storage.scs),
    )
    catalog_index = Selector(
        settings.provided.catalog.backend,
        LISTING=Singleton(ListingCatalogIndex, storage=blob_storage),
        MYSQL=Singleton(
            MySqlCatalogIndex,
            address=Callable(_mysql_address, settings.provided.catalog.mysql_dsn),
            now=now,
        ),
        LOCAL=Singleton(LocalFileCatalogIndex, path=Singleton(Path, settings.provided.catalog.local_path)),
    )

    shared_secret = Singleton(_shared_secret, settings.provided.http.secret)
    kept_tags = Singleton(KeptTags, settings.provided.access)
    access_policy = Singleton(access_policy, settings.provided.auth, settings.provided.access)
    htpasswd = Singleton(
        HtpasswdAuthenticator,
        realm=settings.provided.auth.htpasswd.realm,
        path=settings.provided.auth.htpasswd.path,
        clock=Object(time.monotonic),
        groups=Singleton(_group_file, settings.provided.access.group_file),
    )
    authenticator = Selector(
        Callable(_authenticator_kind, settings.provided.auth.kind, access_policy),
        none=Singleton(OpenAuthenticator),
        silly=Singleton(
            SillyAuthenticator,
            realm=settings.provided.auth.silly.realm,
            service=settings.provided.auth.silly.service,
        ),
        htpasswd=htpasswd,
        login=Singleton(_login_authenticator, htpasswd, secret=shared_secret, now=now),
        token=Singleton(_token_authenticator, settings.provided.auth.token, now=now),
    )

    descriptor_cache = Selector(
        Callable(_descriptor_cache_kind, settings.provided.storage.blob_descriptor_cache),
        disabled=Singleton(DisabledDescriptorCache),
        inmemory=Singleton(
            InMemoryDescriptorCache,
            now=now,
            entries_max=Callable(_entries_max, settings.provided.storage.blob_descriptor_cache_entries_max),
        ),
    )

    process = Singleton(_process_name)
    outbox_storage = Selector(
        settings.provided.notifications.outbox.backend,
        storage=blob_storage,
        local=Singleton(FilesystemBlobStorage, root_directory=settings.provided.notifications.outbox.path),
        memory=Singleton(InMemoryBlobStorage, now=now),
    )
    outbox_lifetime = Selector(
        settings.provided.notifications.outbox.backend,
        storage=Singleton(nullcontext),
        local=outbox_storage,
        memory=outbox_storage,
    )
    outbox = Singleton(Outbox, storage=outbox_storage, process=process, now=now)
    events = Singleton(_event_recorder, outbox, settings)
    notifier = Singleton(
        _notifier,
        outbox,
        events,
        storage=outbox_storage,
        settings=settings.provided.notifications,
        process=process,
    )

    links = Singleton(Links, storage=blob_storage)
    tag_links = Singleton(TagLinks, storage=blob_storage, links=links)
    blobs = Singleton(BlobService, storage=blob_storage, links=links, cache=descriptor_cache)
    uploads = Singleton(
        UploadService,
        storage=blob_storage,
        links=links,
        cache=descriptor_cache,
        now=now,
        new_id=new_id,
        new_hasher=Singleton(hasher_factory),
        offload=Singleton(HashingThreads),
    )
    manifests = Singleton(
        ManifestService,
        storage=blob_storage,
        links=links,
        tag_links=tag_links,
        cache=descriptor_cache,
        policy=Singleton(manifest_policy, settings.provided.validation, kept_tags),
        memory=Singleton(ManifestCache),
    )
    tags = Singleton(
        TagService, storage=blob_storage, tag_links=tag_links, page_size_max=settings.provided.tags.tags_max
    )
    referrers = Singleton(ReferrerService, storage=blob_storage, links=links, tag_links=tag_links)
    catalog = Singleton(
        CatalogService,
        catalog_index,
        storage=blob_storage,
        page_size_max=settings.provided.catalog.entries_max,
    )
    registry = Singleton(
        Registry,
        blobs=blobs,
        uploads=uploads,
        manifests=manifests,
        tags=tags,
        referrers=referrers,
        catalog=catalog,
    )
