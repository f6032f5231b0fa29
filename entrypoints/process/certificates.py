"""Certificates from an ACME server in one process: contexts, the job, and the listener for http-01."""

import logging
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime

from config.container import ServerApplication, utc_now
from config.errors import ConfigError
from config.settings import AcmeChallenge, HttpNetwork, HttpSettings, LetsEncryptSettings, TlsSettings
from core.certificates.service import Certificates
from core.errors import StorageError
from core.ports.certificate_authority import Certificate
from entrypoints.http.connection.certificates import HostContexts
from entrypoints.http.connection.listener import Listener, open_socket
from entrypoints.http.connection.plain import PlainRunner
from entrypoints.http.middleware.acme import Challenges, create_challenge_app
from entrypoints.http.observation import WorkerObservation
from entrypoints.jobs.background import Job
from entrypoints.jobs.certificates import certificate_job
from entrypoints.process.reload import Reloader

_logger = logging.getLogger(__name__)


def open_challenge_socket(settings: HttpSettings) -> socket.socket | None:
    """Return the bound socket for http-01, which all processes share; None if no address is configured.

    Raises:
        OSError: the address is not available.
    """
    acme = acme_of(settings)
    if acme is None or acme.http_addr is None:
        return None
    return open_socket(replace(settings, addr=acme.http_addr, net=HttpNetwork.TCP))


def acme_of(settings: HttpSettings) -> LetsEncryptSettings | None:
    """Return the settings of the ACME server, if there are any."""
    return None if settings.tls is None else settings.tls.lets_encrypt


class CertificatePart:
    """The certificates of one process, also as a reloadable part.

    Args:
        certificates: the service.
        reloader: has the settings in force.
        observation: receives the end of the certificates and the outcomes of orders.
    """

    def __init__(self, certificates: Certificates, reloader: Reloader, observation: WorkerObservation) -> None:
        self._certificates = certificates
        self._reloader = reloader
        self._observation = observation
        self._listener: Listener | None = None
        self.challenges = Challenges(certificates.answer)
        self.contexts = HostContexts(
            self._tls,
            certificates.hosts,
            answer=certificates.answer,
            now=utc_now,
            handshake_seconds=reloader.settings.http.limits.header_seconds,
        )
        certificates.watch(self._keep)

    @classmethod
    def of(
        cls, application: ServerApplication, reloader: Reloader, observation: WorkerObservation
    ) -> "CertificatePart | None":
        """Return the part of an application, or None without the setting."""
        if application.certificates is None:
            return None
        return cls(application.certificates, reloader, observation)

    def jobs(self, *, is_first: bool) -> Sequence[Job]:
        """Return the job of this process."""
        observe = self._observation.order_observer()
        job = certificate_job(
            self._certificates, orders=is_first, is_serving=lambda: self._listener is not None, observe=observe
        )
        return [job]

    async def load(self) -> None:
        """Read the stored certificates, before the listener accepts connections."""
        try:
            await self._certificates.refresh()
        except StorageError as error:
            _logger.warning("the certificates cannot be read yet: %s", error)

    @asynccontextmanager
    async def serving(self, listener: Listener, sock: socket.socket | None) -> AsyncIterator[None]:
        """Answer http-01 inside the block, and let orders begin.

        Args:
            listener: the main listener, which has started.
            sock: the address for http-01, if there is one.
        """
        runner = PlainRunner(
            create_challenge_app(self.challenges, self._certificates.hosts), self._reloader.settings.http.limits
        )
        await runner.setup()
        try:
            if sock is not None:
                # The parent closes the original.
                await Listener(runner, sock.dup(), new_connection=runner.new_connection).start()
            self._listener = listener
            if self._reloader.speaks:
                self._log_missing()
            yield
        finally:
            await runner.cleanup()

    def files(self) -> Sequence[str]:
        """Return the files to watch."""
        return self._tls().client_cas

    async def reload(self) -> None:
        """Apply the current settings of TLS to new connections.

        Raises:
            ConfigError: the settings or the client authorities are invalid; the previous ones stay in use.
        """
        if acme_of(self._reloader.settings.http) is None:
            raise ConfigError(["http.tls.letsencrypt cannot be removed while the server runs"])
        context = self.contexts.rebuild()
        if self._listener is not None:
            self._listener.exchange(context)

    def _tls(self) -> TlsSettings:
        return self._reloader.settings.http.tls or TlsSettings()

    def _keep(self, certificate: Certificate) -> None:
        self.contexts.keep(certificate)
        self._observation.certificate_changed(self._first_end())
        if self._reloader.speaks:
            until = certificate.ends_at.isoformat()
            _logger.info("serving the certificate", extra={"host": certificate.host, "until": until})

    def _first_end(self) -> datetime:
        return min(each.ends_at for each in self._certificates.held.values())

    def _log_missing(self) -> None:
        acme = acme_of(self._reloader.settings.http)
        if acme is None:
            return
        port = 443 if acme.challenge is AcmeChallenge.TLS_ALPN else 80
        for host in self._certificates.missing:
            _logger.warning(
                "no certificate for %s yet, clients are refused until %s issues one: "
                "its servers must reach this registry at %s:%d (%s)",
                host,
                acme.directory_url,
                host,
                port,
                acme.challenge,
            )
