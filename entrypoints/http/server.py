"""The server process: sockets, signals, reloads, and a stop that lets requests in flight finish."""

import asyncio
import logging
import os
import signal
import socket
import ssl
from collections.abc import Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from config.container import Container, event_endpoints, utc_now
from config.errors import ConfigError
from config.loader import Loaded, inherited_descriptors, service_environment
from config.logging import configure_logging
from config.settings import Settings, StorageKind
from core.errors import StorageError
from core.ports.authenticator import CredentialSourceError
from entrypoints.http.access_part import LIVE_ACCESS_KEYS, AccessPart
from entrypoints.http.app import create_app
from entrypoints.http.authentication import GATEKEEPER
from entrypoints.http.background import Job
from entrypoints.http.draining import InFlight
from entrypoints.http.keys import IN_FLIGHT, SWITCHES
from entrypoints.http.listener import Listener, close_sockets, open_sockets
from entrypoints.http.notifications_part import LIVE_NOTIFICATION_KEYS, NotificationsPart, notification_jobs
from entrypoints.http.protocol import GuardedRunner
from entrypoints.http.purging import purge_job
from entrypoints.http.tls import build_context, files_of, log_expiry, tell_limits
from entrypoints.reload import Reloader
from entrypoints.service_manager import Reports, ServiceManager
from entrypoints.watch import FileWatch
from entrypoints.workers import Supervisor, Worker, usable_cores

_logger = logging.getLogger(__name__)


def serve(loaded: Loaded, container: Container, *, load: Callable[[], Loaded]) -> int:
    """Serve until SIGTERM or SIGINT.

    Args:
        loaded: the configuration to begin with.
        container: built from its settings.
        load: reads the configuration anew, after SIGHUP and when it changes.

    Returns:
        0 after a stop, 4 when the storage could not be opened, 1 when the address or a file could not be.

    Raises:
        ConfigError: a file that the settings name cannot be used.
    """
    settings = loaded.settings
    count = _worker_count(settings)
    watch = FileWatch()
    watch.changed([loaded.path, *(files_of(settings.http.tls) if settings.http.tls else ())])
    # Before the fork: a wrong file is told once, and all workers sign with one secret.
    context, secret = _first_context(settings), container.shared_secret()
    asyncio.run(_check_credentials(container))
    _warn(settings, container)
    inherited = inherited_descriptors(pid=os.getpid())
    try:
        sockets = open_sockets(settings.http, inherited, count)
    except OSError as error:
        # Python adds the address in its own words to some messages; those of name lookups have no number above 0.
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or error
        _logger.error("cannot listen on %s: %s", settings.http.addr, reason)  # noqa: TRY400
        return 1

    service = _service_manager()

    def start(worker: Worker) -> int:
        reloader = Reloader(loaded, load, watch=watch, speaks=worker.is_first)
        serving = _Serving(reloader, container, worker, sockets[worker.number], context, secret)
        return asyncio.run(serving.run())

    try:
        if count == 1:
            return start(Worker(service))
        status = f"{count} workers serve {settings.http.addr}"
        drain_seconds = settings.http.drain_timeout_seconds
        return Supervisor(start, count, service=service, status=status, drain_seconds=drain_seconds).run()
    finally:
        close_sockets(settings.http, inherited, sockets)


def _service_manager() -> ServiceManager:
    asked = service_environment(pid=os.getpid())
    return ServiceManager(asked.notify_address, watchdog_seconds=asked.watchdog_seconds)


def _worker_count(settings: Settings) -> int:
    if settings.storage.kind is StorageKind.INMEMORY:
        # Each process would have images of its own.
        return 1
    return settings.http.workers or usable_cores()


@dataclass(frozen=True, slots=True)
class _Serving:
    """One process that serves."""

    reloader: Reloader
    container: Container
    worker: Worker
    sock: socket.socket
    context: ssl.SSLContext | None
    secret: bytes

    async def run(self) -> int:
        """Serve until told to stop; return the exit code."""
        settings = self.reloader.settings
        app = create_app(
            self.container.registry(),
            settings,
            authenticator=self.container.authenticator(),
            policy=self.container.access_policy(),
            upload_secret=self.secret,
            now=utc_now,
            lifetimes=[
                self.container.authenticator(),
                self.container.blob_storage(),
                self.container.catalog_index(),
                self.container.descriptor_cache(),
                self.container.outbox_lifetime(),
            ],
            events=self.container.events(),
            is_first=self.worker.is_first,
            jobs=_jobs(self.container, settings, self.worker),
        )
        runner = GuardedRunner(app, settings.http.limits)
        stopping = _on_signals(self.reloader, self.worker)
        try:
            await runner.setup()
            await self._serve(app, runner, stopping)
        except CredentialSourceError as error:
            _logger.error("%s", error)  # noqa: TRY400 - one line for people, no traceback
            return 1
        except StorageError as error:
            _logger.error("cannot open the storage: %s", error)  # noqa: TRY400 - one line for people, no traceback
            return 4
        finally:
            await runner.cleanup()
        return 0

    async def _serve(self, app: web.Application, runner: web.AppRunner, stopping: asyncio.Event) -> None:
        settings = self.reloader.settings
        listener = Listener(
            runner, self.sock, context=self.context, handshake_seconds=settings.http.limits.header_seconds
        )
        await listener.start()
        self.worker.reports.ready(f"serving {listener.name}")
        if self.worker.is_first:
            _logger.info("listening on %s", listener.name, extra={"tls": self.context is not None})
        _prepare_reloads(self.reloader, app, listener, self.container)
        async with _running(self.reloader.run()), _running(_beat(self.worker.reports)):
            await stopping.wait()
        if self.worker.is_alone:
            _logger.info("stopping", extra={"drain_seconds": settings.http.drain_timeout_seconds})
        self.worker.reports.stopping(settings.http.drain_timeout_seconds)
        await _drain(runner, app[IN_FLIGHT], settings.http.drain_timeout_seconds)


def _jobs(container: Container, settings: Settings, worker: Worker) -> Sequence[Job]:
    """Return what a process of a server does beside serving, and what one of them does for all."""
    jobs = list(notification_jobs(container.events(), container.notifier(), settings, is_first=worker.is_first))
    purging = settings.storage.upload_purging
    if worker.is_first and purging.enabled:
        schedule, budget = container.upload_purge_schedule(), container.upload_purge_budget()
        jobs.append(purge_job(container.blob_storage(), schedule, purging, budget))
    return jobs


def _first_context(settings: Settings) -> ssl.SSLContext | None:
    tls = settings.http.tls
    if tls is None:
        return None
    context = build_context(tls)
    for line in tell_limits(tls):
        _logger.warning("configuration: %s", line)
    log_expiry(tls, utc_now)
    return context


class TlsPart:
    """The certificates of a listener, as a part that can be reloaded."""

    def __init__(self, listener: Listener, settings: Callable[[], Settings], *, speaks: bool) -> None:
        self._listener = listener
        self._speaks = speaks
        self._settings = settings

    def files(self) -> tuple[str, ...]:
        """Return the files to watch."""
        tls = self._settings().http.tls
        return () if tls is None else files_of(tls)

    async def reload(self) -> None:
        """Serve new connections with what the files now hold.

        Raises:
            ConfigError: they cannot be used; connections are served as before.
        """
        tls = self._settings().http.tls
        if tls is None:
            raise ConfigError(["http.tls cannot be left out while serving"])
        context = await asyncio.to_thread(build_context, tls)
        await self._listener.exchange(context)
        if self._speaks:
            log_expiry(tls, utc_now)


def _prepare_reloads(reloader: Reloader, app: web.Application, listener: Listener, container: Container) -> None:
    reloader.appliers.append(lambda settings: configure_logging(settings.log))
    reloader.appliers.append(app[SWITCHES].apply)
    access = AccessPart(app[GATEKEEPER], container.kept_tags(), reloader.settings)
    reloader.appliers.append(access.apply)
    notifications = NotificationsPart(container.notifier(), reloader.settings.notifications, event_endpoints)
    reloader.appliers.append(notifications.apply)
    reloader.live_keys += [*LIVE_ACCESS_KEYS, *LIVE_NOTIFICATION_KEYS]
    # Each request looks at these files itself.
    reloader.register("users, groups and keys", access, files=tuple)
    if reloader.settings.http.tls is not None:
        tls = TlsPart(listener, lambda: reloader.settings, speaks=reloader.speaks)
        reloader.register("certificate", tls, files=tls.files)


@asynccontextmanager
async def _running(job: Coroutine[Any, Any, None]) -> Any:
    task = asyncio.create_task(job)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _beat(reports: Reports) -> None:
    """Say, as long as the event loop turns, that it does."""
    while reports.beat_seconds:
        reports.alive()
        await asyncio.sleep(reports.beat_seconds)


async def _drain(runner: web.AppRunner, in_flight: InFlight, timeout_seconds: float) -> None:
    for site in list(runner.sites):
        await site.stop()
    if not await in_flight.drain(timeout_seconds):
        _logger.warning("requests are cut off: they did not finish within http.draintimeout")


def _warn(settings: Settings, container: Container) -> None:
    if settings.http.secret is None:
        _logger.warning(
            "no http.secret: uploads fail when another replica or this one after a restart takes the next piece; "
            "set REGISTRY_HTTP_SECRET to the same text on all replicas"
        )
    if settings.access.immutable_tags and not container.blob_storage().creates_exclusively:
        _logger.warning(
            "access.immutabletags: this storage cannot create exclusively; of two first pushes of a tag at the same "
            "moment, by two processes, the later one wins"
        )


async def _check_credentials(container: Container) -> None:
    """Find out whether files of users and keys can be used.

    Raises:
        ConfigError: one cannot.
    """
    try:
        async with container.authenticator():
            return
    except CredentialSourceError as error:
        raise ConfigError([str(error)]) from error


def _on_signals(reloader: Reloader, worker: Worker) -> asyncio.Event:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    if worker.lifeline is not None:
        # Readable once the parent is gone, which a killed one cannot tell.
        loop.add_reader(worker.lifeline, stopping.set)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)

    def reload() -> None:
        worker.reports.reloading()
        reloader.ask()

    reloader.reloaded = worker.reports.reloaded
    loop.add_signal_handler(signal.SIGHUP, reload)
    return stopping
