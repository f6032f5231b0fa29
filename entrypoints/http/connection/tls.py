"""TLS of the listener, built from settings: the offered versions and suites, and the verification of clients.

ALPN offers only HTTP/1.1. A context is never modified: new files create a new one, so that an invalid pair can be
rejected before any client is served with it.
"""

import logging
import os
import ssl
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from config.cipher_suites import DEFAULT_SUITES, OPENSSL_NAMES
from config.errors import ConfigError
from config.settings import ClientAuth, TlsSettings, TlsVersion
from core.ports.certificate_authority import Certificate

_logger = logging.getLogger(__name__)

EXPIRY_WARNING: Final = timedelta(days=14)
"""A certificate that expires sooner than this is logged as a warning."""

_VERSIONS: Final = {TlsVersion.TLS12: ssl.TLSVersion.TLSv1_2, TlsVersion.TLS13: ssl.TLSVersion.TLSv1_3}
_VERIFY_MODES: Final = {
    ClientAuth.REQUEST: ssl.CERT_OPTIONAL,
    ClientAuth.VERIFY_IF_GIVEN: ssl.CERT_OPTIONAL,
    ClientAuth.REQUIRE_ANY: ssl.CERT_REQUIRED,
    ClientAuth.REQUIRE_AND_VERIFY: ssl.CERT_REQUIRED,
}
_STRICTER: Final = {
    ClientAuth.REQUEST: ClientAuth.VERIFY_IF_GIVEN,
    ClientAuth.REQUIRE_ANY: ClientAuth.REQUIRE_AND_VERIFY,
}
"""Python's ssl cannot accept a certificate without verifying it, so the stricter mode is used instead."""


def build_context(settings: TlsSettings, certificate: Certificate | None = None) -> ssl.SSLContext:
    """Return the context of a listener.

    Args:
        settings: the settings; `certificate` and `key` are not read if a certificate is given.
        certificate: the certificate to present, instead of the one in the files.

    Raises:
        ConfigError: a file is unreadable or invalid; the message is one line and contains no part of a key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[settings.minimum_version]
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    _choose_suites(context, settings)
    if certificate is None:
        _load_pair(context, settings)
    else:
        load_certificate(context, certificate)
    _load_authorities(context, settings)
    return context


def files_of(settings: TlsSettings) -> tuple[str, ...]:
    """Return the files from which a context is built."""
    return tuple(path for path in (settings.certificate, settings.key, *settings.client_cas) if path)


def limits_of(settings: TlsSettings) -> Iterator[str]:
    """Yield a line for each setting that cannot be honored exactly."""
    if settings.client_cas and (stricter := _STRICTER.get(settings.client_auth)):
        yield (
            f"http.tls.clientauth {settings.client_auth} is treated as {stricter}: "
            "certificates of clients are always verified"
        )
    if not settings.client_cas and settings.client_auth is not ClientAuth.REQUIRE_AND_VERIFY:
        yield "http.tls.clientauth has no effect without http.tls.clientcas"
    if settings.cipher_suites and not _tls12_suites(settings):
        yield "http.tls.ciphersuites names only suites of TLS 1.3, so TLS 1.2 is disabled"


def load_certificate(context: ssl.SSLContext, certificate: Certificate) -> None:
    """Let a context present a certificate that is in memory.

    Raises:
        ValueError: the certificate or its key is invalid.
    """
    # Python's ssl reads certificates from paths only. This file has no name and is never on a disk.
    with os.fdopen(os.memfd_create("certificate"), "wb") as file:
        file.write(f"{certificate.key.reveal()}\n{certificate.chain}".encode())
        file.flush()
        try:
            context.load_cert_chain(f"/proc/self/fd/{file.fileno()}", password="")
        except ssl.SSLError as error:
            raise ValueError(f"the certificate for {certificate.host} is invalid: {error.reason}") from None


def expiry_of(settings: TlsSettings) -> datetime:
    """Return the end of the certificate's validity."""
    # Imported here and in `_load_pair`, because most registries run behind a proxy that terminates TLS.
    from cryptography import x509  # noqa: PLC0415

    return x509.load_pem_x509_certificate(Path(settings.certificate).read_bytes()).not_valid_after_utc


def log_expiry(settings: TlsSettings, now: Callable[[], datetime]) -> None:
    """Log the end of the certificate's validity, as a warning if it is near or past."""
    expires = expiry_of(settings)
    left = expires - now()
    level = logging.WARNING if left < EXPIRY_WARNING else logging.INFO
    verb = "expired" if left < timedelta() else "expires"
    shown = expires.strftime("%Y-%m-%dT%H:%M:%SZ")
    _logger.log(level, "certificate %s %s at %s", settings.certificate, verb, shown, extra={"days_left": left.days})


def _tls12_suites(settings: TlsSettings) -> list[str]:
    chosen = settings.cipher_suites or DEFAULT_SUITES
    return [OPENSSL_NAMES[name] for name in chosen if name in OPENSSL_NAMES]


def _choose_suites(context: ssl.SSLContext, settings: TlsSettings) -> None:
    if settings.minimum_version is TlsVersion.TLS13:
        return
    suites = _tls12_suites(settings)
    if not suites:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return
    try:
        context.set_ciphers(":".join(suites))
    except ssl.SSLError:
        raise ConfigError(["http.tls.ciphersuites: this OpenSSL supports none of them"]) from None


def _load_pair(context: ssl.SSLContext, settings: TlsSettings) -> None:
    from cryptography import x509  # noqa: PLC0415

    certificate = require_file("certificate", settings.certificate)
    require_file("key", settings.key)
    try:
        x509.load_pem_x509_certificate(certificate)
    except ValueError:
        raise ConfigError([f"http.tls.certificate: {settings.certificate}: is not a PEM certificate"]) from None
    try:
        # With an empty password, an encrypted key is an error; without one, OpenSSL would prompt on the terminal.
        context.load_cert_chain(settings.certificate, settings.key, password="")
    except ssl.SSLError as error:
        fault = (
            "does not belong to the certificate"
            if error.reason == "KEY_VALUES_MISMATCH"
            else f"is not an unencrypted PEM key, or the chain is invalid ({error.reason or 'unreadable'})"
        )
        raise ConfigError([f"http.tls.key: {settings.key}: {fault}"]) from None


def _load_authorities(context: ssl.SSLContext, settings: TlsSettings) -> None:
    for path in settings.client_cas:
        content = require_file("clientcas", path)
        try:
            context.load_verify_locations(cadata=content.decode("ascii", "replace"))
        except (ssl.SSLError, ValueError):
            raise ConfigError([f"http.tls.clientcas: {path}: contains no PEM certificates"]) from None
    if settings.client_cas:
        context.verify_mode = _VERIFY_MODES[settings.client_auth]


def require_file(key: str, path: str) -> bytes:
    """Return the content of a file that a key of `http.tls` names.

    Raises:
        ConfigError: the file cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not a path"
        raise ConfigError([f"http.tls.{key}: {path}: cannot be read: {reason}"]) from None
