"""Setup of metrics, health and traces, in the parent before the fork and in each process after the fork."""

import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Self

from aiohttp import web
from aiohttp.typedefs import Middleware

from config.container import Observers, RegistryApplication, ServerApplication, make_observers, packages_can_trace
from config.loaded import Loaded
from config.settings import HttpNetwork, ReadinessSettings
from core.collection.report import CollectionObserver, ignore
from core.errors import StorageFullError
from core.registry.abandoned_uploads import Purged
from entrypoints.http.connection.listener import Listener, bind_unix, open_socket
from entrypoints.http.draining import InFlight
from entrypoints.http.middleware.cache_metering import CacheMeter
from entrypoints.http.middleware.metering import RequestMeter
from entrypoints.http.middleware.tracing import tracing
from entrypoints.http.probes import Probes
from entrypoints.observability.caching import eviction_observer, prefetch_observer
from entrypoints.observability.checks import check_storage, configured_checks
from entrypoints.observability.gauges import (
    catalog_reader,
    certificate_gauge,
    health_reader,
    order_observer,
    purge_observer,
    read_only_reader,
    set_build_info,
)
from entrypoints.observability.health import CheckFailedError, Health
from entrypoints.observability.jobs import VerificationObserver, collection_observer
from entrypoints.observability.mirrors import mirror_observer
from entrypoints.observability.notification_metrics import NotificationReader
from entrypoints.observability.quotas import quota_reader
from entrypoints.observability.reach import is_public
from entrypoints.observability.readiness import Readiness, Requirement
from entrypoints.observability.sampler import Sampler
from entrypoints.observability.usage import usage_observer

if TYPE_CHECKING:
    from core.pull_through.eviction import EvictionReport
    from core.transfer.mirrors import ObserveMirror
    from entrypoints.observability.runtime_folder import RuntimeFolder

_logger = logging.getLogger(__name__)

_CUT_SECONDS: Final = 1.0
"""Time that requests at the debug address may take to finish after the server has stopped."""

CleanupContext = Callable[[web.Application], AsyncIterator[None]]


@dataclass(frozen=True, kw_only=True)
class Observation:
    """Observation of one application. The default observes nothing and reports the process as live and ready."""

    in_flight: InFlight = field(default_factory=InFlight)
    health: Health = field(default_factory=Health)
    readiness: Readiness | None = None
    middlewares: Sequence[Middleware] = ()
    """Middlewares around all requests but probes, outermost first."""
    meter: RequestMeter | None = None
    """The meter of requests, if one of the middlewares is its own."""
    contexts: Sequence[CleanupContext] = ()
    """Cleanup contexts that run for the lifetime of the application."""

    def probes(self, *, shows_reasons: bool) -> Probes:
        """Return the handlers of `/healthz` and `/readyz`."""
        readiness = self.readiness or Readiness(ReadinessSettings(), is_draining=lambda: self.in_flight.is_draining)
        return Probes(readiness, shows_reasons=shows_reasons)


@dataclass(frozen=True, slots=True)
class DebugPlace:
    """Resources shared by the processes of a server with a debug address."""

    sock: socket.socket
    folder: "RuntimeFolder"
    workers: int


class ServerObservation:
    """Observation resources that the processes of a server share; created before the fork."""

    def __init__(self, exporters: Sequence[str], place: DebugPlace | None, *, has_metrics: bool = False) -> None:
        self._exporters = exporters
        self._place = place
        self._has_metrics = has_metrics

    @classmethod
    def open(cls, loaded: Loaded, workers: int) -> Self:
        """Open the debug address and prepare metrics and traces, each if configured.

        Raises:
            OSError: the debug address is not available, or there is no room for the metrics files.
        """
        exporters = _usable_exporters(loaded)
        debug = loaded.settings.http.debug
        if not debug.addr:
            return cls(exporters, None)
        # Imported here and in `_listen`: most servers have no debug address.
        from entrypoints.observability.runtime_folder import RuntimeFolder  # noqa: PLC0415

        if is_public(debug.addr):
            _logger.warning(
                "http.debug.addr %s may be reachable from other machines: health and metrics need no password; "
                "127.0.0.1 restricts it to this machine",
                debug.addr,
            )
        sock = open_socket(replace(loaded.settings.http, addr=debug.addr, net=HttpNetwork.TCP))
        try:
            folder = RuntimeFolder.open(workers)
        except OSError:
            sock.close()
            raise
        return cls(exporters, DebugPlace(sock, folder, workers), has_metrics=debug.prometheus_enabled)

    @property
    def is_per_worker(self) -> bool:
        """Whether each worker has metrics or traces of its own; without them, all can use the same application."""
        return self._has_metrics or bool(self._exporters)

    def worker_ended(self, number: int) -> None:
        """Reset the gauges of a worker that has ended, before its successor starts."""
        if self._place is None:
            return
        try:
            self._place.folder.forget(number)
        except OSError as error:
            # The gauges stay until the successor overwrites them; the supervisor must continue.
            _logger.warning("cannot reset the gauges of worker %d: %s", number, error.strerror)

    def close(self) -> None:
        """Close and remove the resources that `open` created."""
        if self._place is not None:
            self._place.sock.close()
            self._place.folder.close()

    def enter_worker(self, number: int) -> Observers:
        """Return the metrics and traces of this process, which has this number from now on."""
        if self._place is not None:
            self._place.folder.worker = number
        folder = self._place.folder.path if self._place is not None and self._has_metrics else None
        return make_observers(folder, number, self._exporters)

    def of_worker(self, application: ServerApplication, number: int) -> "WorkerObservation":
        """Return the observation of this process, whose application was built with `enter_worker`'s observers."""
        return WorkerObservation(application, self._place, number)


class WorkerObservation:
    """Observation of one serving process."""

    def __init__(self, application: ServerApplication, place: DebugPlace | None, number: int) -> None:
        settings, catalog = application.settings, application.registry.catalog
        self._settings = settings
        self._place = place
        self._number = number
        self._metrics = application.observers.metrics
        self._tracer = application.observers.tracer
        self._origins = application.origins
        self._set_certificate_expiry: Callable[[datetime], None] | None = None
        self._meter = RequestMeter(self._metrics, clock=time.perf_counter) if self._metrics else None
        self.sampler = Sampler(self._metrics, worker=number) if self._metrics else None
        """Sampler for readers that run once a second; None if metrics are disabled."""
        in_flight = InFlight()
        health = Health(list(configured_checks(settings.health, application.storage)), worker=number)
        readiness = Readiness(
            settings.health.readiness,
            list(_needs(settings.health.readiness, application)),
            is_draining=lambda: in_flight.is_draining,
            is_blocked=lambda: health.is_blocking,
            worker=number,
        )
        self.of_application = Observation(
            in_flight=in_flight,
            health=health,
            readiness=readiness,
            middlewares=self._middlewares(),
            meter=self._meter,
            contexts=[readiness.running, *([self.sampler.running] if self.sampler else [])],
        )
        if self.sampler and self._metrics:
            set_build_info(self._metrics)
            self.sampler.register(catalog_reader(self._metrics, catalog, time.monotonic))
            self.sampler.register(health_reader(self._metrics, health, readiness))
            self.sampler.register(NotificationReader(self._metrics, application.notifier.stats))

    def certificate_changed(self, expires: datetime) -> None:
        """Update the metric of the served certificate."""
        if self._metrics is not None:
            # Created on first use: without TLS, a gauge of 0 would look like a certificate that expired in 1970.
            self._set_certificate_expiry = self._set_certificate_expiry or certificate_gauge(self._metrics)
            self._set_certificate_expiry(expires)

    def watch_read_only(self, is_read_only: Callable[[], bool]) -> None:
        """Publish a metric for the read-only mode."""
        if self.sampler and self._metrics:
            self.sampler.register(read_only_reader(self._metrics, is_read_only))

    def order_observer(self) -> Callable[[bool], None]:
        """Return the function to call after each order of a certificate, with whether it succeeded."""
        return order_observer(self._metrics) if self._metrics is not None else lambda _succeeded: None

    def purge_observer(self) -> Callable[[Purged], None]:
        """Return the function to call after each purge of abandoned uploads."""
        return purge_observer(self._metrics) if self._metrics is not None else lambda _purged: None

    def mirror_observer(self) -> "ObserveMirror":
        """Return the function that receives the runs of mirrors."""
        return mirror_observer(self._metrics) if self._metrics is not None else lambda _name, _state, _is_own: None

    def collection_observer(self) -> CollectionObserver:
        """Return the function that receives the progress of garbage collections in this process."""
        return collection_observer(self._metrics) if self._metrics is not None else ignore

    def usage_observer(self) -> Callable[[Mapping[str, Any]], None] | None:
        """Return the function that receives measurements of storage use, or None if metrics are disabled."""
        return usage_observer(self._metrics) if self._metrics is not None else None

    def eviction_observer(self) -> "Callable[[EvictionReport], None]":
        """Return the function to call after each eviction from the cache by this process."""
        return eviction_observer(self._metrics) if self._metrics is not None else lambda _report: None

    def prefetch_observer(self) -> Callable[[str], None]:
        """Return the function to call with the image of a prefetch rule after each run without failures."""
        return prefetch_observer(self._metrics) if self._metrics is not None else lambda _image: None

    def verification_observer(self) -> VerificationObserver | None:
        """Return the observer of verifications in this process, or None if metrics are disabled."""
        return VerificationObserver(self._metrics) if self._metrics is not None else None

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Serve the debug address inside the block."""
        async with AsyncExitStack() as stack:
            if self._place is not None:
                await self._listen(self._place, stack)
            yield

    def close(self) -> None:
        """Send the remaining traces. Blocks for a few seconds at most."""
        if self._tracer is not None:
            self._tracer.close()

    def _middlewares(self) -> Sequence[Middleware]:
        middlewares: list[Middleware] = []
        if self._metrics is not None and self.sampler is not None and self._meter is not None:
            self.sampler.register(self._meter.flush)
            middlewares.append(self._meter.measure)
            if self._origins.upstreams:
                middlewares.append(CacheMeter(self._metrics, self._origins).count)
                self.sampler.register(quota_reader(self._metrics, self._origins, time.monotonic))
        if self._tracer is not None:
            middlewares.append(tracing(self._tracer, self._settings.http.prefix))
        return middlewares

    async def _listen(self, place: DebugPlace, stack: AsyncExitStack) -> None:
        from entrypoints.observability.debug import private_app, public_app  # noqa: PLC0415 - as in `open`
        from entrypoints.observability.peers import Peers  # noqa: PLC0415
        from entrypoints.observability.stacks import answering_signal  # noqa: PLC0415

        stack.enter_context(answering_signal(place.folder.stacks))
        public = public_app(
            self.of_application.health,
            self.of_application.probes(shows_reasons=True).handlers,
            Peers(place.folder, place.workers),
            self._metrics,
            metrics_path=self._settings.http.debug.prometheus_path,
        )
        private = await stack.enter_async_context(_running(private_app()))
        await Listener(private, bind_unix(place.folder.socket_of(self._number))).start()
        shared = await stack.enter_async_context(_running(public))
        # Use a duplicate: the listener closes its socket, and `ServerObservation.close` closes the original.
        await Listener(shared, place.sock.dup()).start()


@asynccontextmanager
async def _running(app: web.Application) -> AsyncIterator[web.AppRunner]:
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_CUT_SECONDS)
    await runner.setup()
    try:
        yield runner
    finally:
        await runner.cleanup()


def _needs(settings: ReadinessSettings, application: RegistryApplication) -> Sequence[Requirement]:
    storage, catalog = application.storage, application.registry.catalog

    async def ask_storage() -> None:
        await check_storage(storage, settings.timeout_seconds)

    async def look_at_space() -> None:
        try:
            await storage.check_space()
        except StorageFullError as error:
            raise CheckFailedError(str(error)) from error

    async def look_at_index() -> None:
        if catalog.trouble:
            raise CheckFailedError(catalog.trouble)

    return [
        Requirement(name="storage", run=ask_storage, is_required=True),
        Requirement(name="storage-space", run=look_at_space, is_required=False),
        Requirement(name="catalog-index", run=look_at_index, is_required=settings.needs_index),
    ]


def _usable_exporters(loaded: Loaded) -> Sequence[str]:
    exporters = loaded.tracing.exporters
    if exporters and not packages_can_trace():
        _logger.warning(
            "OTEL_* requests traces, but the packages for them are missing: pip install 'sohu-registry[otel]'"
        )
        return ()
    return exporters
