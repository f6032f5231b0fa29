"""Identification of clients by the certificates of their TLS connections, which OpenSSL has verified."""

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from weakref import WeakKeyDictionary

from aiohttp import web

from config.settings import Settings
from core.model.access import Principal
from core.model.client_certificates import ClientCertificate, ClientIdentity, NameField, UnusableCertificateError
from entrypoints.http.forwarding import is_forwarded
from entrypoints.http.keys import CLIENT

_ALTERNATIVES: Final = {NameField.URI: "URI", NameField.DNS: "DNS", NameField.EMAIL: "email"}

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _User:
    principal: Principal
    ends_at: float
    """The end of the certificate, in seconds since 1970."""


class ClientCertificates:
    """Returns the users of TLS connections; reads the certificate of a connection once.

    Args:
        identity: the user that a certificate stands for.
        now: returns the current time, UTC-aware.
    """

    def __init__(self, identity: ClientIdentity, *, now: Callable[[], datetime]) -> None:
        self._identity = identity
        self._now = now
        self._users: WeakKeyDictionary[asyncio.BaseTransport, _User | None] = WeakKeyDictionary()

    def principal_of(self, request: web.Request) -> Principal | None:
        """Return the user of the connection; None if the certificate must not decide, or names no user.

        An `Authorization` header decides itself. The certificate of a proxy does not stand for the clients of the
        proxy. A browser presents a certificate also for requests that pages of other sites send.
        """
        transport, headers = request.transport, request.headers
        if transport is None or "Authorization" in headers:
            return None
        try:
            user = self._users[transport]
        except KeyError:
            user = self._users[transport] = self._user_of(transport, request)
        if user is None or is_forwarded(headers) or _is_of_other_site(request):
            return None
        if user.ends_at <= self._now().timestamp():
            _logger.warning("client certificate has expired on an open connection, ignoring it")
            self._users[transport] = None
            return None
        return user.principal

    def _user_of(self, transport: asyncio.BaseTransport, request: web.Request) -> _User | None:
        certificate = transport.get_extra_info("peercert")
        if not certificate:
            return None
        try:
            principal = self._identity.principal_of(read_certificate(certificate))
        except UnusableCertificateError as error:
            fields = {"client.address": request[CLIENT].address, "serial": certificate["serialNumber"][:64]}
            _logger.warning("login failed: %s", error, extra=fields)
            return None
        return _User(principal, ssl.cert_time_to_seconds(certificate["notAfter"]))


def read_certificate(certificate: Mapping[str, Any]) -> ClientCertificate:
    """Return the fields of a certificate, as `ssl.SSLObject.getpeercert` returns it."""
    subject = [pair for part in certificate.get("subject", ()) for pair in part]
    alternatives = certificate.get("subjectAltName", ())
    return ClientCertificate(
        names={
            NameField.COMMON_NAME: _values(subject, "commonName"),
            **{field: _values(alternatives, kind) for field, kind in _ALTERNATIVES.items()},
        },
        units=_values(subject, "organizationalUnitName"),
    )


def _values(pairs: Iterable[tuple[str, str]], name: str) -> Sequence[str]:
    return [value for key, value in pairs if key == name]


def client_certificates(settings: Settings, now: Callable[[], datetime]) -> ClientCertificates | None:
    """Return what identifies clients by certificates; None if certificates do not stand for users."""
    identity = settings.http.tls.client_identity if settings.http.tls else None
    return ClientCertificates(identity, now=now) if identity else None


def _is_of_other_site(request: web.Request) -> bool:
    site = request.headers.get("Sec-Fetch-Site")
    if site is None:
        # A browser without this header sends `Origin` with every request that could change something.
        return "Origin" in request.headers
    return site not in {"same-origin", "none"}
