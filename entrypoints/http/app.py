"""The aiohttp application: connects handlers to routes and lifetimes to the process."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import datetime, timedelta
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Middleware

from config.settings import Settings, UnknownHosts
from core.model.access import AccessPolicy
from core.ports.audit_log import AuditLog
from core.ports.authenticator import TOKEN_PATH, Authenticator, TokenIssuer
from core.pull_through.origins import LOCAL_ONLY, Origins
from core.registry.facade import Registry
from core.registry.upload_state import UploadStateCodec
from entrypoints.http.auditing import Auditor
from entrypoints.http.authentication import AUTHORIZER, Authorizer
from entrypoints.http.client_certificates import client_certificates
from entrypoints.http.connection.repeating import REPEATER, Repeater
from entrypoints.http.dispatch import Dispatcher
from entrypoints.http.forwarding import Forwarding
from entrypoints.http.handlers.base import Handler, get_base
from entrypoints.http.handlers.blobs import BlobHandlers
from entrypoints.http.handlers.jobs import JobHandlers, VerificationHandlers
from entrypoints.http.handlers.late import list_handlers
from entrypoints.http.handlers.lists import ListHandlers
from entrypoints.http.handlers.manifests import ManifestHandlers
from entrypoints.http.handlers.notifications import NotificationHandlers
from entrypoints.http.handlers.read_only import ReadOnlyHandlers
from entrypoints.http.handlers.repositories import RepositoryHandlers
from entrypoints.http.handlers.retention import RetentionHandlers
from entrypoints.http.handlers.trash import TrashHandlers
from entrypoints.http.handlers.uploads import UploadHandlers
from entrypoints.http.handlers.usage import UsageHandlers
from entrypoints.http.keys import IN_FLIGHT, RUNTIME_FLAGS
from entrypoints.http.middleware.acme import Challenges
from entrypoints.http.middleware.cache_status import mark_freshness
from entrypoints.http.middleware.cors import Cors
from entrypoints.http.middleware.errors import answer_errors, common_headers
from entrypoints.http.middleware.limits import Limits
from entrypoints.http.middleware.namespaces import Namespaces
from entrypoints.http.observation import Observation
from entrypoints.http.operations import Operations
from entrypoints.http.repeated_pulls import RepeatedPulls
from entrypoints.http.routes import Resource
from entrypoints.http.runtime_flags import RuntimeFlags
from entrypoints.http.site import NewSite, SiteParts
from entrypoints.http.token_endpoint import TokenEndpoint
from entrypoints.http.urls import UrlBuilder
from entrypoints.jobs.background import Job, background, standard_jobs


def create_app(
    registry: Registry,
    settings: Settings,
    *,
    authenticator: Authenticator,
    policy: AccessPolicy,
    upload_secret: bytes,
    now: Callable[[], datetime],
    audit_log: AuditLog,
    operations: Operations,
    lifetimes: Sequence[AbstractAsyncContextManager[Any]] = (),
    is_first: bool = True,
    jobs: Sequence[Job] = (),
    observation: Observation | None = None,
    origins: Origins = LOCAL_ONLY,
    new_site: NewSite | None = None,
    challenges: Challenges | None = None,
) -> web.Application:
    """Build the application.

    Args:
        registry: the domain.
        settings: settings, of which `http`, `storage`, `access`, `audit` and `proxy` are read.
        authenticator: identifies the sender of a request.
        policy: decides which requests are allowed.
        upload_secret: key that signs upload sessions; must be equal on all replicas.
        now: returns the current time, UTC-aware.
        audit_log: receives the audit records.
        operations: the parts that requests of operators control.
        lifetimes: adapters opened and closed with the application; entered in this order, left in reverse.
        is_first: whether this process does the jobs that one worker does for all; it fills the catalog index at start.
        jobs: background jobs in addition to the standard ones.
        observation: observes the application (metrics, health, traces).
        origins: the upstreams of cached repositories.
        new_site: returns the web page, which is served if `ui.enabled`.
        challenges: answers the challenges of an ACME server.
    """
    urls = UrlBuilder(host=settings.http.host, prefix=settings.http.prefix, relative=settings.http.relative_urls)
    flags = RuntimeFlags(settings, operations.read_only)
    codec = UploadStateCodec(upload_secret)
    lifetime = timedelta(seconds=settings.access.upload_lifetime_seconds)
    authorizer = Authorizer(
        authenticator,
        policy,
        codec=codec,
        urls=urls,
        upload_lifetime=lifetime,
        now=now,
        certificates=client_certificates(settings, now),
    )
    auditor = Auditor(audit_log, settings.audit, now=now)
    parts = SiteParts(
        registry=registry,
        operations=operations,
        settings=settings,
        authenticator=authenticator,
        authorizer=authorizer,
        auditor=auditor,
        audit_log=audit_log,
        flags=flags,
        urls=urls,
        secret=upload_secret,
        now=now,
        origins=origins,
    )
    dispatcher = Dispatcher(
        _handlers(registry, settings, urls, codec) | _controls(registry, operations, urls, flags),
        prefix=settings.http.prefix,
        flags=flags,
        extras={TOKEN_PATH: TokenEndpoint(authenticator)} if isinstance(authenticator, TokenIssuer) else {},
        sites={settings.ui.path: new_site(parts)} if new_site and settings.ui.enabled else {},
    )
    observation = observation or Observation()
    cors = Cors(settings.http.cors)
    namespaces = Namespaces(origins, settings.proxy.unknown if settings.proxy else UnknownHosts.DENY)
    limits = Limits(
        settings.http.limits,
        Forwarding(settings.http.trusted_proxies, hops=settings.http.proxy_hops),
        time.monotonic,
    )
    steps = _steps(
        settings,
        observation,
        dispatcher,
        authorizer,
        limits=limits,
        auditor=auditor,
        cors=cors,
        namespaces=namespaces if origins.upstreams else None,
        challenges=challenges,
    )
    app = web.Application(middlewares=steps)
    app[IN_FLIGHT] = observation.in_flight
    app[AUTHORIZER] = authorizer
    app[RUNTIME_FLAGS] = flags
    app[REPEATER] = _repeater(
        registry, settings, observation, flags, authorizer=authorizer, limits=limits, origins=origins
    )
    # (?s:.) also matches line ends: a path with an encoded one must reach the check of names.
    app.router.add_route("*", "/{path:(?s:.*)}", dispatcher.handle)
    app.on_response_prepare.append(common_headers(flags))
    if settings.http.cors.origins:
        app.on_response_prepare.append(cors.mark)
    if origins.upstreams:
        app.on_response_prepare.extend([namespaces.mark, mark_freshness])
    app.on_response_prepare.append(observation.in_flight.close_connection)
    app.cleanup_ctx.extend([_lifetimes(lifetimes), observation.health.running, *observation.contexts])
    requested = [
        operations.collection.background,
        operations.verification.background,
        operations.usage.background,
    ]
    all_jobs = [*standard_jobs(registry), *jobs, *requested]
    app.cleanup_ctx.append(background(registry.catalog, all_jobs, upkeep_waits=flags.upkeep_waits, is_first=is_first))
    return app


def _steps(
    settings: Settings,
    observation: Observation,
    dispatcher: Dispatcher,
    authorizer: Authorizer,
    *,
    limits: Limits,
    auditor: Auditor,
    cors: Cors,
    namespaces: Namespaces | None,
    challenges: Challenges | None,
) -> list[Middleware]:
    """Return all that happens before a handler, in order: each step answers the request or calls the next one."""
    return [
        observation.probes(shows_reasons=False).answer,
        dispatcher.find_route,
        *observation.middlewares,
        observation.in_flight.count,
        *([auditor.record] if auditor.is_on else []),
        answer_errors,
        *([observation.health.block] if observation.health.can_block else []),
        limits.enforce,
        *([challenges.answer] if challenges else []),
        *([cors.answer_preflight] if settings.http.cors.origins else []),
        dispatcher.answer_elsewhere,
        *([namespaces.localize] if namespaces else []),
        authorizer.authorize,
        dispatcher.require_endpoint,
        *([namespaces.refuse_changes] if namespaces else []),
        *([auditor.permit] if settings.audit.required else []),
    ]


def _repeater(
    registry: Registry,
    settings: Settings,
    observation: Observation,
    flags: RuntimeFlags,
    *,
    authorizer: Authorizer,
    limits: Limits,
    origins: Origins,
) -> Repeater | None:
    """Return the part that answers repeated requests.

    Returns:
        None if a step that this part leaves out does anything for a pull without credentials.
    """
    measured = [observation.meter.measure] if observation.meter else []
    is_possible = (
        list(observation.middlewares) == measured
        and not origins.upstreams
        and not observation.health.can_block
        and not limits.is_per_client
        and not settings.http.cors.origins
        and (settings.audit.kind == "disabled" or not settings.audit.pulls)
    )
    if not is_possible:
        return None
    return RepeatedPulls(
        registry,
        authorizer=authorizer,
        limits=limits,
        in_flight=observation.in_flight,
        flags=flags,
        meter=observation.meter,
        redirects=not settings.storage.redirect_disabled,
    )


def _handlers(
    registry: Registry, settings: Settings, urls: UrlBuilder, codec: UploadStateCodec
) -> dict[tuple[Resource, str], Handler]:
    bytes_max = settings.http.limits.manifest_bytes
    blobs = BlobHandlers(registry.blobs, urls=urls, redirects=not settings.storage.redirect_disabled)
    uploads = UploadHandlers(registry, codec=codec, urls=urls)
    manifests = ManifestHandlers(registry, urls=urls, bytes_max=bytes_max)
    lists = ListHandlers(registry, urls=urls)
    repositories = RepositoryHandlers(registry, urls=urls)
    return {
        (Resource.BASE, "GET"): get_base,
        (Resource.BASE, "HEAD"): get_base,
        (Resource.BLOB, "GET"): blobs.get,
        (Resource.BLOB, "HEAD"): blobs.head,
        (Resource.BLOB, "DELETE"): blobs.delete,
        (Resource.UPLOADS, "POST"): uploads.post,
        (Resource.UPLOAD, "GET"): uploads.get,
        (Resource.UPLOAD, "HEAD"): uploads.get,
        (Resource.UPLOAD, "PATCH"): uploads.patch,
        (Resource.UPLOAD, "PUT"): uploads.put,
        (Resource.UPLOAD, "DELETE"): uploads.delete,
        (Resource.MANIFEST, "GET"): manifests.get,
        (Resource.MANIFEST, "HEAD"): manifests.get,
        (Resource.MANIFEST, "PUT"): manifests.put,
        (Resource.MANIFEST, "DELETE"): manifests.delete,
        (Resource.TAG_LIST, "GET"): lists.tags,
        (Resource.REFERRERS, "GET"): lists.referrers,
        (Resource.CATALOG, "GET"): lists.catalog,
        (Resource.REPOSITORY, "DELETE"): repositories.delete,
        **list_handlers(registry, urls),
    }


def _controls(
    registry: Registry, operations: Operations, urls: UrlBuilder, flags: RuntimeFlags
) -> dict[tuple[Resource, str], Handler]:
    """Return the handlers for what the commands do."""
    trash = TrashHandlers(registry, urls=urls)
    usage = UsageHandlers(operations, flags, urls=urls)
    read_only = ReadOnlyHandlers(operations, flags)
    retention = RetentionHandlers(registry.retention, urls=urls, clock=time.monotonic)
    notifications = NotificationHandlers(operations)
    collection = JobHandlers(operations.collection, flags)
    verification = VerificationHandlers(operations.verification, flags, operations.findings, urls=urls)
    return {
        (Resource.TRASH, "GET"): trash.list,
        (Resource.TRASH_ENTRY, "POST"): trash.restore,
        (Resource.TRASH_ENTRY, "DELETE"): trash.delete,
        (Resource.REPOSITORY_TRASH, "GET"): trash.list,
        (Resource.REPOSITORY_TRASH_ENTRY, "POST"): trash.restore,
        (Resource.USAGE, "GET"): usage.get,
        (Resource.USAGE, "POST"): usage.post,
        (Resource.REPOSITORY_USAGE, "GET"): usage.of_repository,
        (Resource.READ_ONLY, "GET"): read_only.get,
        (Resource.READ_ONLY, "PUT"): read_only.put,
        (Resource.READ_ONLY, "DELETE"): read_only.delete,
        (Resource.RETENTION, "GET"): retention.list,
        (Resource.REPOSITORY_RETENTION, "GET"): retention.get,
        (Resource.NOTIFICATIONS, "GET"): notifications.get,
        (Resource.NOTIFICATIONS, "POST"): notifications.post,
        (Resource.COLLECTION, "GET"): collection.get,
        (Resource.COLLECTION, "POST"): collection.post,
        (Resource.VERIFICATION, "GET"): verification.get,
        (Resource.VERIFICATION, "POST"): verification.post,
    }


def _lifetimes(
    managers: Sequence[AbstractAsyncContextManager[Any]],
) -> Callable[[web.Application], AsyncIterator[None]]:
    async def open_and_close(_app: web.Application) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for manager in managers:
                await stack.enter_async_context(manager)
            yield

    return open_and_close
