"""TLS contexts for certificates from an ACME server: one for each host, and those that answer tls-alpn-01."""

import hashlib
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from config.errors import ConfigError
from config.settings import TlsSettings
from core.errors import StorageError
from core.model.secret import Secret
from core.ports.certificate_authority import Certificate, ChallengeAnswer
from entrypoints.http.connection.client_hello import peek_hello
from entrypoints.http.connection.tls import build_context, load_certificate

_logger = logging.getLogger(__name__)

_CHALLENGE_PROTOCOL: Final = "acme-tls/1"
"""The protocol that an ACME server offers to see the answer to tls-alpn-01, and no other client (RFC 8737)."""
_OFFER: Final = bytes([len(_CHALLENGE_PROTOCOL)]) + _CHALLENGE_PROTOCOL.encode()
"""The protocol as an item of the client's hello (RFC 7301)."""
_IDENTIFIER: Final = "1.3.6.1.5.5.7.1.31"
"""The extension with the hash of the answer (id-pe-acmeIdentifier)."""
_OCTETS: Final = b"\x04\x20"
"""Begin of the DER encoding of 32 octets."""
_HANDSHAKE_SECONDS: Final = 60.0
_LIFE: Final = timedelta(days=7)


class HostContexts:
    """The contexts of one process. New certificates apply to new connections; open ones continue.

    Args:
        settings: returns the settings in force.
        hosts: the names of the registry; connections for other names get the certificate of the first host that has
            one.
        answer: returns the answer to the current challenge.
        now: the current time, UTC-aware.
        handshake_seconds: maximum time until a client has sent its hello; 0 means a minute.
    """

    def __init__(
        self,
        settings: Callable[[], TlsSettings],
        hosts: Sequence[str],
        *,
        answer: Callable[[], Awaitable[ChallengeAnswer | None]],
        now: Callable[[], datetime],
        handshake_seconds: float = 0,
    ) -> None:
        self._settings = settings
        self._hosts = hosts
        self._read_answer = answer
        self._now = now
        self._handshake_seconds = handshake_seconds or _HANDSHAKE_SECONDS
        self._certificates: dict[str, Certificate] = {}
        self._contexts: dict[str, ssl.SSLContext] = {}
        # Probes of load balancers connect before there is a certificate, and do not verify one.
        self._placeholder = self_signed(hosts[0], now())
        self._challenge: tuple[ChallengeAnswer, ssl.SSLContext] | None = None
        self.context = self._base()
        """The context of the listener."""

    def keep(self, certificate: Certificate) -> None:
        """Present a certificate from now on, instead of an older one for the same host."""
        try:
            self._contexts[certificate.host] = build_context(self._settings(), certificate)
        except ValueError as error:
            _logger.error("%s", error, extra={"host": certificate.host})  # noqa: TRY400 - one line, no traceback
            return
        except ConfigError as error:
            # A file of client authorities is gone, and must not keep an old certificate in use until it expires.
            _logger.error("%s", "; ".join(error.problems), extra={"host": certificate.host})  # noqa: TRY400 - one line
            if certificate.host in self._contexts:
                load_certificate(self._contexts[certificate.host], certificate)
        self._certificates[certificate.host] = certificate

    def rebuild(self) -> ssl.SSLContext:
        """Build all contexts for changed settings; return the new context of the listener.

        Raises:
            ConfigError: a file of client authorities is invalid; the previous contexts stay in use.
        """
        base = self._base()
        self._contexts = {host: build_context(self._settings(), each) for host, each in self._certificates.items()}
        self.context = base
        return base

    async def choose(self, connection: socket.socket) -> ssl.SSLContext | None:
        """Return the context that answers the challenge, if the client of this connection is an ACME server.

        Raises:
            OSError: the client sent nothing in time, or is gone.
        """
        hello = await peek_hello(connection, self._handshake_seconds)
        if _OFFER not in hello:
            return None
        try:
            answer = await self._read_answer()
        except StorageError as error:
            _logger.warning("the answer to a challenge cannot be read: %s", error)
            return None
        if answer is None:
            return None
        if self._challenge is None or self._challenge[0] != answer:
            self._challenge = (answer, challenge_context(answer, self._now()))
        return self._challenge[1]

    def _base(self) -> ssl.SSLContext:
        context = build_context(self._settings(), self._placeholder)
        context.sni_callback = self._choose_by_name
        return context

    def _choose_by_name(self, connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        wanted = name.lower() if name else ""
        for host in (wanted, *self._hosts):
            if host in self._contexts:
                connection.context = self._contexts[host]
                return


def self_signed(host: str, now: datetime, extension: bytes | None = None) -> Certificate:
    """Return a certificate that no client trusts.

    Args:
        host: the name in the certificate.
        now: begin of its life.
        extension: the hash that an ACME server looks for.
    """
    from cryptography import x509  # noqa: PLC0415 - only with this setting, as in `tls`
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    key = ec.generate_private_key(ec.SECP256R1())
    text = "no certificate yet, see the log of the registry"
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _LIFE)
        .not_valid_after(now + _LIFE)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    )
    if extension is not None:
        identifier = x509.UnrecognizedExtension(x509.ObjectIdentifier(_IDENTIFIER), _OCTETS + extension)
        builder = builder.add_extension(identifier, critical=True)
    chain = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return Certificate(host=host, chain=chain, key=Secret(text), begins_at=now - _LIFE, ends_at=now + _LIFE)


def challenge_context(answer: ChallengeAnswer, now: datetime) -> ssl.SSLContext:
    """Return the context that answers tls-alpn-01 for one host, and refuses all others."""
    digest = hashlib.sha256(answer.key_authorization.encode()).digest()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([_CHALLENGE_PROTOCOL])
    load_certificate(context, self_signed(answer.host, now, digest))

    def require_host(_connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> int | None:
        is_asked_for = name is not None and name.lower() == answer.host
        return None if is_asked_for else ssl.AlertDescription.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    context.sni_callback = require_host
    return context
