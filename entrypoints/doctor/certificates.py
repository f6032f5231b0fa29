"""Checks of certificates: the one that the public address presents, and the configured files."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from config.settings import TlsSettings
from core.certificates.service import Certificates
from core.diagnosis import Diagnosis
from entrypoints.doctor.context import DoctorContext
from entrypoints.doctor.findings import failure, ok, skipped, warning

_EXPIRES_SOON: Final = timedelta(days=21)
"""Let's Encrypt clients renew 30 days before expiry; a certificate this close to expiry was not renewed in time."""
_RENEWAL_PATIENCE: Final = 0.25
"""The share of the time between the first attempt to renew and the end after which a renewal is late."""
_CONNECT_SECONDS: Final = 10.0
_HTTPS: Final = 443
_EXPIRED: Final = 10
_UNKNOWN_ISSUER: Final = frozenset({2, 20, 21})
_SELF_SIGNED: Final = frozenset({18, 19})
_WRONG_NAME: Final = frozenset({62, 64})


async def check_certificates(doctor: DoctorContext) -> AsyncIterator[Diagnosis]:
    """Connect to the public address as a client does, and check the certificates of `http.tls`."""
    if doctor.public is not None and doctor.public.is_https:
        parts = urlsplit(doctor.public.url)
        async for diagnosis in _shown(doctor, parts.hostname or "", parts.port or _HTTPS):
            yield diagnosis
    tls = doctor.loaded.settings.http.tls
    if tls is not None:
        for diagnosis in await asyncio.to_thread(_configured, doctor, tls):
            yield diagnosis
    if doctor.application.certificates is not None:
        async for diagnosis in _stored(doctor.application.certificates, doctor.application.now()):
            yield diagnosis


def _configured(doctor: DoctorContext, tls: TlsSettings) -> Sequence[Diagnosis]:
    found = [*_files(doctor, tls.certificate, tls.key)] if tls.certificate else []
    for path in tls.client_cas:
        found += _authorities(doctor, path)
    return found


async def _stored(certificates: Certificates, now: datetime) -> AsyncIterator[Diagnosis]:
    await certificates.refresh()
    for host in certificates.hosts:
        check, held = f"certificate: {host} from the ACME server", certificates.held.get(host)
        if held is None:
            yield failure(check, "not in the store", "read the log of the servers, which names the reason")
        elif held.ends_at <= now:
            yield failure(check, f"expired at {held.ends_at:%Y-%m-%d %H:%M} UTC", "read the log of the servers")
        elif held.renews_at + (held.ends_at - held.renews_at) * _RENEWAL_PATIENCE < now:
            text = f"{(held.ends_at - now).days} days left, not renewed since {held.renews_at:%Y-%m-%d}"
            yield warning(check, text, "read the log of the servers, which names the reason")
        else:
            yield ok(check, f"{(held.ends_at - now).days} days left, renewed from {held.renews_at:%Y-%m-%d} on")


async def _shown(doctor: DoctorContext, host: str, port: int) -> AsyncIterator[Diagnosis]:
    check = "certificate: trusted by clients"
    try:
        await presented_certificate(host, port, client_context(doctor.ca_file))
    except ssl.SSLCertVerificationError as error:
        yield failure(check, error.verify_message, _remedy(error.verify_code))
    except ssl.SSLError as error:
        yield failure(check, error.reason or "the handshake fails", "check http.tls.minimumtls and the cipher suites")
        return
    except (OSError, TimeoutError) as error:
        yield skipped(check, f"{host}:{port} cannot be reached: {str(error) or type(error).__name__}")
        return
    else:
        yield ok(check)
    # Without verification, so that any certificate can be inspected; no data is sent.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    leaf = x509.load_der_x509_certificate(await presented_certificate(host, port, context))
    yield _judge_age("certificate: age", leaf, doctor.application.now())


async def presented_certificate(host: str, port: int, context: ssl.SSLContext) -> bytes:
    """Connect with TLS, and return the certificate of the server in DER form.

    Raises:
        SSLError: the handshake fails, or `context` rejects the certificate.
        OSError, TimeoutError: the server cannot be reached.
    """
    async with asyncio.timeout(_CONNECT_SECONDS):
        _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
        try:
            leaf: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            return leaf
        finally:
            # `close` would wait for an answer of the server, which may send none.
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()


def client_context(ca_file: str | None) -> ssl.SSLContext:
    """Return a context that trusts the system's authorities and those in `ca_file`."""
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context


def _remedy(code: int) -> str:
    if code == _EXPIRED:
        return "renew the certificate; the registry loads new files without a restart"
    if code in _WRONG_NAME:
        return "use a certificate whose subjectAltName has this name; clients ignore the common name"
    if code in _SELF_SIGNED:
        return (
            "make clients trust it (docker: /etc/docker/certs.d/HOST/ca.crt; here: --ca), or use one from an authority"
        )
    if code in _UNKNOWN_ISSUER:
        return (
            "serve the whole chain: the certificate, then each intermediate one (fullchain.pem); for a private "
            "authority, make clients trust it and give --ca here"
        )
    return "inspect the certificate with: openssl s_client -showcerts -connect HOST:PORT"


def _files(doctor: DoctorContext, certificate: str, key: str) -> Sequence[Diagnosis]:
    check = "certificate: files of http.tls"
    try:
        chain = x509.load_pem_x509_certificates(Path(certificate).read_bytes())
        private = load_pem_private_key(Path(key).read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        return [
            failure(check, f"cannot be read: {type(error).__name__}", "use PEM files, and a key without a password")
        ]
    if _public_bytes(private.public_key()) != _public_bytes(chain[0].public_key()):
        return [failure(check, "the key does not match the first certificate", "put the server's certificate first")]
    found = [
        ok(check),
        _judge_age("certificate: age of http.tls", chain[0], doctor.application.now()),
        _judge_chain(chain),
    ]
    if doctor.public is not None:
        found.append(_judge_name(chain[0], urlsplit(doctor.public.url).hostname or ""))
    return found


def _authorities(doctor: DoctorContext, path: str) -> Sequence[Diagnosis]:
    """Judge the authorities of client certificates in a file."""
    check = f"certificate: authority of clients in {path}"
    try:
        found = x509.load_pem_x509_certificates(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        return [failure(check, f"cannot be read: {type(error).__name__}", "use a PEM file of certificates")]
    return [_judge_age(check, each, doctor.application.now()) for each in found]


def _judge_age(check: str, leaf: x509.Certificate, now: datetime) -> Diagnosis:
    ends = leaf.not_valid_after_utc
    text = f"valid until {ends:%Y-%m-%d %H:%M} UTC"
    if ends <= now:
        return failure(check, text, "renew it; the registry loads new files without a restart")
    if leaf.not_valid_before_utc > now:
        return failure(check, f"not valid before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC", "check the clock")
    if ends - now < _EXPIRES_SOON:
        return warning(check, text, "check why it was not renewed yet")
    return ok(check, text)


def _judge_chain(chain: Sequence[x509.Certificate]) -> Diagnosis:
    check = "certificate: chain of http.tls"
    for child, parent in pairwise(chain):
        try:
            child.verify_directly_issued_by(parent)
        except (ValueError, TypeError, InvalidSignature):
            subject = child.subject.rfc4514_string()
            return failure(
                check, f"{subject} is not signed by the next certificate", "put each issuer after its certificate"
            )
    last = chain[-1]
    if last.subject == last.issuer or _is_root_known(last):
        return ok(check, f"{len(chain)} certificates")
    return warning(
        check,
        f"ends with {last.subject.rfc4514_string()}, whose issuer is unknown on this machine",
        "append the intermediate certificates (fullchain.pem), unless clients trust the issuer",
    )


def _is_root_known(last: x509.Certificate) -> bool:
    issuer = last.issuer.public_bytes()
    # Parse only candidates: some roots that systems trust break rules that the parser enforces.
    for root in [each for each in ssl.create_default_context().get_ca_certs(binary_form=True) if issuer in each]:
        try:
            last.verify_directly_issued_by(x509.load_der_x509_certificate(root))
        except (ValueError, TypeError, InvalidSignature):
            continue
        return True
    return False


def _judge_name(leaf: x509.Certificate, host: str) -> Diagnosis:
    check = "certificate: name of http.tls"
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return failure(check, "no subjectAltName", "use a certificate with a subjectAltName")
    known = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
    wildcard = f"*.{host.partition('.')[2]}"
    if host in known or (wildcard in known and not _is_ip(host)):
        return ok(check, host)
    # Only a warning: a proxy in front may present another certificate, and clients see that one.
    return warning(check, f"{host} is not among {', '.join(known)}", "use a certificate for the name that clients use")


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _public_bytes(key: object) -> bytes:
    encoded: bytes = getattr(key, "public_bytes")(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # noqa: B009 - of any kind
    return encoded
