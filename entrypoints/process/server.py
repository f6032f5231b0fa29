"""The server process: sockets, signals, reloads, and a graceful stop."""

import asyncio
import gc
import logging
import os
import signal
import socket
import ssl
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from config.container import Observers, ServerApplication, ServerParts, build_server, event_endpoints, utc_now
from config.errors import ConfigError
from config.loaded import Loaded
from config.loader import inherited_descriptors, service_environment
from config.logging import configure_logging, flush_logs
from config.settings import HttpSettings, Settings, StorageKind
from core.errors import AuditUnavailableError, StorageError
from core.ports.audit_log import AuditLog
from core.ports.authenticator import Authenticator, CredentialSourceError
from entrypoints.http.app import create_app
from entrypoints.http.auditing import SwitchAudit
from entrypoints.http.authentication import AUTHORIZER
from entrypoints.http.client_certificates import client_certificates
from entrypoints.http.connection.accepting import raise_descriptor_limit
from entrypoints.http.connection.listener import Listener, ServerSockets
from entrypoints.http.connection.plain import PlainRunner
from entrypoints.http.connection.runner import create_runner, runner_type
from entrypoints.http.connection.tls import expiry_of, files_of
from entrypoints.http.keys import IN_FLIGHT, RUNTIME_FLAGS
from entrypoints.http.observation import ServerObservation, WorkerObservation
from entrypoints.http.operations import Operations, operations_of
from entrypoints.jobs.notifications import LIVE_NOTIFICATION_KEYS, NotificationsPart
from entrypoints.opening import opened
from entrypoints.process.access_part import LIVE_ACCESS_KEYS, AccessPart
from entrypoints.process.certificates import CertificatePart, open_challenge_socket
from entrypoints.process.event_loop import run_patiently
from entrypoints.process.jobs import jobs_of
from entrypoints.process.reload import Reloader
from entrypoints.process.service_manager import Reports, ServiceManager
from entrypoints.process.start_warnings import warn_at_start
from entrypoints.process.tls_part import TlsPart, first_context
from entrypoints.process.watch import FileWatch
from entrypoints.process.workers import Supervisor, Worker, usable_cores
from entrypoints.web.lazy import LazySite

_logger = logging.getLogger(__name__)

_FLUSH_SECONDS: Final = 1.0
"""Interval at which log lines are retried that a slow log reader left no room for."""


def serve(loaded: Loaded, parts: ServerParts, *, load: Callable[[], Loaded]) -> int:
    """Serve until SIGTERM or SIGINT.

    Args:
        loaded: initial configuration.
        parts: the parts that the processes share, built from its settings.
        load: reads the configuration again, after SIGHUP and when the file changes.

    Returns:
        0 after a stop, 4 if the storage could not be opened, 1 if the address or a file could not.

    Raises:
        ConfigError: a file that the settings name is invalid.
    """
    settings = loaded.settings
    raise_descriptor_limit()
    count = _worker_count(settings)
    watch = FileWatch()
    watch.changed([*loaded.files, *(files_of(settings.http.tls) if settings.http.tls else ())])
    # Before the fork, so that an invalid file is reported once.
    context = first_context(settings)
    _check(parts)
    service = _service_manager()
    with ExitStack() as stack, ExitStack() as listening:
        try:
            sockets = listening.enter_context(_sockets(settings.http, count))
            challenge = listening.enter_context(_challenge_socket(settings.http))
            observation = stack.enter_context(_observation(loaded, count))
        except _UnavailableError as error:
            _logger.error("cannot listen on %s", error)  # noqa: TRY400 - one line, no traceback
            return 1

        shared = _shared_application(parts, observation)

        def start(worker: Worker) -> int:
            reloader = Reloader(loaded, load, watch=watch, speaks=worker.is_first)
            parts.upload_use.enter(worker.number, count)
            observers = observation.enter_worker(worker.number)
            application = shared or build_server(parts, observers)
            watched = observation.of_worker(application, worker.number)
            serving = _Serving(
                reloader,
                application,
                worker,
                sockets.enter(worker.number),
                sockets.refuse_new,
                context,
                watched,
                challenge,
            )
            try:
                return run_patiently(serving.run())
            finally:
                watched.close()

        if count == 1:
            return start(Worker(service))
        supervisor = Supervisor(
            start,
            count,
            service=service,
            status=f"serving {settings.http.addr} with {count} workers",
            drain_seconds=settings.http.drain_timeout_seconds,
            on_end=observation.worker_ended,
            on_stop=listening.close,
        )
        return supervisor.run()


def _shared_application(parts: ServerParts, observation: ServerObservation) -> ServerApplication | None:
    """Return the application whose memory all workers share; None if each has metrics or traces of its own.

    The modules of connections are shared in any case.
    """
    runner_type(parts.settings.http)
    application = None if observation.is_per_worker else build_server(parts, Observers())
    # A scan for garbage writes to each object that it looks at.
    gc.freeze()
    return application


class _UnavailableError(Exception):
    """An address is not available; the message contains the address and the reason."""

    def __init__(self, address: str, error: OSError) -> None:
        # Python adds the address to some messages in its own format; errors of name lookups have no positive errno.
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or error
        super().__init__(f"{address}: {reason}")


@contextmanager
def _sockets(settings: HttpSettings, count: int) -> Iterator[ServerSockets]:
    try:
        sockets = ServerSockets(settings, inherited_descriptors(pid=os.getpid()), count)
    except OSError as error:
        raise _UnavailableError(settings.addr, error) from error
    with closing(sockets):
        yield sockets


@contextmanager
def _challenge_socket(settings: HttpSettings) -> Iterator[socket.socket | None]:
    try:
        sock = open_challenge_socket(settings)
    except OSError as error:
        raise _UnavailableError("http.tls.letsencrypt.httpaddr", error) from error
    with closing(sock) if sock is not None else nullcontext():
        yield sock


@contextmanager
def _observation(loaded: Loaded, count: int) -> Iterator[ServerObservation]:
    try:
        observation = ServerObservation.open(loaded, count)
    except OSError as error:
        raise _UnavailableError(f"the debug address {loaded.settings.http.debug.addr}", error) from error
    try:
        yield observation
    finally:
        observation.close()


def _service_manager() -> ServiceManager:
    asked = service_environment(pid=os.getpid())
    return ServiceManager(asked.notify_address, watchdog_seconds=asked.watchdog_seconds)


def _worker_count(settings: Settings) -> int:
    if settings.storage.kind is StorageKind.INMEMORY:
        # Each process would have its own images.
        return 1
    return settings.http.workers or usable_cores()


@dataclass(frozen=True, slots=True)
class _Serving:
    """One serving process."""

    reloader: Reloader
    application: ServerApplication
    worker: Worker
    sock: socket.socket
    refuse_new: Callable[[], None]
    context: ssl.SSLContext | None
    observation: WorkerObservation
    challenge_sock: socket.socket | None = None

    async def run(self) -> int:
        """Serve until stopped; return the exit code."""
        application, settings = self.application, self.application.settings
        certificates = CertificatePart.of(application, self.reloader, self.observation)
        app = create_app(
            application.registry,
            settings,
            authenticator=application.authenticator,
            policy=application.policy,
            upload_secret=application.upload_secret,
            now=application.now,
            audit_log=application.audit_log,
            operations=self._operations(),
            lifetimes=[opened(application)],
            is_first=self.worker.is_first,
            observation=self.observation.of_application,
            jobs=[
                *jobs_of(application, self.worker, self.observation),
                *(certificates.jobs(is_first=self.worker.is_first) if certificates else ()),
            ],
            challenges=certificates.challenges if certificates else None,
            origins=application.origins,
            new_site=LazySite,
        )
        runner = create_runner(app, settings.http)
        stopping = _on_signals(self.reloader, self.worker)
        try:
            await runner.setup()
            async with self.observation.listening():
                await self._serve(app, runner, stopping, certificates)
        except CredentialSourceError as error:
            _logger.error("%s", error)  # noqa: TRY400 - one line, no traceback
            return 1
        except StorageError as error:
            _logger.error("cannot open the storage: %s", error)  # noqa: TRY400 - one line, no traceback
            return 4
        finally:
            await runner.cleanup()
        return 0

    def _operations(self) -> Operations:
        if not self.worker.is_first:
            # Metrics of a run are added up over the workers, so that only one of them may count runs.
            return operations_of(self.application)
        return operations_of(
            self.application,
            observe_collection=self.observation.collection_observer(),
            verification_observer=self.observation.verification_observer(),
        )

    async def _serve(
        self,
        app: web.Application,
        runner: PlainRunner,
        stopping: asyncio.Event,
        certificates: CertificatePart | None,
    ) -> None:
        settings = self.reloader.settings
        if certificates is not None:
            await certificates.load()
        listener = Listener(
            runner,
            self.sock,
            context=certificates.contexts.context if certificates else self.context,
            handshake_seconds=settings.http.limits.header_seconds,
            new_connection=runner.new_connection,
            make_room=runner.close_idle,
            choose_context=certificates.contexts.choose if certificates else None,
            begin=runner.begin_tls,
            refuse_new=self.refuse_new,
        )
        await listener.start()
        self.worker.reports.ready(f"serving {listener.name}")
        if self.worker.is_first:
            _logger.info("listening on %s", listener.name, extra={"tls": settings.http.tls is not None})
        _prepare_reloads(self.reloader, app, listener, self.application, self.observation, certificates=certificates)
        if self.worker.is_first:
            switch_audit = SwitchAudit(self.application.audit_log, settings, now=utc_now)
            self.reloader.appliers.append(switch_audit.apply)
        answering = certificates.serving(listener, self.challenge_sock) if certificates else nullcontext()
        jobs = (self.reloader.run(), _beat(self.worker.reports), _flush_logs())
        async with _running(jobs[0]), _running(jobs[1]), _running(jobs[2]), answering:
            await stopping.wait()
        if self.worker.is_alone:
            _logger.info("stopping", extra={"drain_seconds": settings.http.drain_timeout_seconds})
        self.worker.reports.stopping(settings.http.drain_timeout_seconds)
        in_flight = app[IN_FLIGHT]
        # Responses close their connections from now on.
        in_flight.is_draining = True
        await listener.stop()
        if not await in_flight.drain(settings.http.drain_timeout_seconds, is_connected=lambda: listener.is_connected):
            _logger.warning("aborting requests that did not finish within http.draintimeout")


def _prepare_reloads(
    reloader: Reloader,
    app: web.Application,
    listener: Listener,
    application: ServerApplication,
    observation: WorkerObservation,
    *,
    certificates: CertificatePart | None,
) -> None:
    reloader.appliers.append(lambda settings: configure_logging(settings.log, waits=False))
    flags = app[RUNTIME_FLAGS]
    reloader.appliers.append(flags.apply)
    observation.watch_read_only(lambda: flags.is_read_only)
    access = AccessPart(app[AUTHORIZER], application.tag_immutability, reloader.settings)
    reloader.appliers.append(access.apply)
    reloader.appliers.append(lambda new: app[AUTHORIZER].identify_by(client_certificates(new, utc_now)))
    notifications = NotificationsPart(application.notifier, reloader.settings.notifications, event_endpoints)
    reloader.appliers.append(notifications.apply)
    reloader.live_keys += [*LIVE_ACCESS_KEYS, *LIVE_NOTIFICATION_KEYS]
    # No files to watch: each request checks these files itself.
    reloader.register("users, groups and keys", access, files=tuple)
    if certificates is not None:
        reloader.register("TLS", certificates, files=certificates.files)
    elif reloader.settings.http.tls is not None:
        observation.certificate_changed(expiry_of(reloader.settings.http.tls))
        tls = TlsPart(
            listener, lambda: reloader.settings, speaks=reloader.speaks, on_change=observation.certificate_changed
        )
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
    """Report regularly that the event loop is not blocked."""
    while reports.beat_seconds:
        reports.alive()
        await asyncio.sleep(reports.beat_seconds)


async def _flush_logs() -> None:
    while True:
        await asyncio.sleep(_FLUSH_SECONDS)
        flush_logs()


async def _check_credentials(authenticator: Authenticator) -> None:
    """Check that the files of users and keys are valid.

    Raises:
        ConfigError: a file is invalid.
    """
    try:
        async with authenticator:
            return
    except CredentialSourceError as error:
        raise ConfigError([str(error)]) from error


def _check(parts: ServerParts) -> None:
    asyncio.run(_check_credentials(parts.authenticator))
    _check_audit_log(parts.audit_log)
    warn_at_start(parts)


def _check_audit_log(audit_log: AuditLog) -> None:
    """Check that the audit log is writable.

    Raises:
        ConfigError: the audit log is not writable.
    """
    try:
        audit_log.check()
    except AuditUnavailableError as error:
        raise ConfigError([f"`audit`: {error}"]) from error


def _on_signals(reloader: Reloader, worker: Worker) -> asyncio.Event:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    if worker.lifeline is not None:
        # Readable once the parent is gone; a parent that was killed cannot send a signal.
        loop.add_reader(worker.lifeline, stopping.set)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)

    def reload() -> None:
        worker.reports.reloading()
        reloader.ask()

    reloader.reloaded = worker.reports.reloaded
    loop.add_signal_handler(signal.SIGHUP, reload)
    return stopping
