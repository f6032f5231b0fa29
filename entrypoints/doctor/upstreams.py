"""Checks of the upstreams of the pull-through cache: names, certificates, sign-in and the quota that is left."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from yarl import URL

from config.container import spool_folder
from config.settings import HUB_HOSTS, ProxySettings, UpstreamOptions, has_credentials
from core.diagnosis import Diagnosis
from core.errors import UpstreamBusyError, UpstreamError
from core.model.names import Tag
from core.ports.upstream import Upstream
from entrypoints.doctor.certificates import presented_certificate
from entrypoints.doctor.context import DoctorContext
from entrypoints.doctor.findings import failure, ok, skipped, warning

_EXPIRES_SOON: Final = timedelta(days=7)
_RESOLVE_SECONDS: Final = 10.0
_QUOTA_REPOSITORY: Final = "ratelimitpreview/test"
"""Docker Hub reports the quota in answers about manifests only; a HEAD of this one counts no pull."""
_FEW_PULLS: Final = 0.1
_PRIVATE_MODE: Final = 0o077


async def check_upstreams(doctor: DoctorContext) -> AsyncIterator[Diagnosis]:
    """Resolve each URL, inspect its certificate, and sign in; the only checks that contact other registries."""
    proxy = doctor.loaded.settings.proxy
    if proxy is None:
        return
    yield await asyncio.to_thread(_check_spool, doctor, proxy)
    adapters = {rules.prefix: upstream for rules, upstream in doctor.application.origins.upstreams}
    for options in proxy.all_upstreams:
        upstream = adapters[options.prefix]
        for text in options.urls:
            async for diagnosis in _check_url(options, URL(text), doctor.application.now()):
                yield diagnosis
        async with upstream:
            async for diagnosis in _check_sign_in(options, upstream):
                yield diagnosis


def _check_spool(doctor: DoctorContext, proxy: ProxySettings) -> Diagnosis:
    check = "upstreams: spool"
    folder = spool_folder(doctor.loaded.settings, proxy).absolute()
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return failure(check, f"{existing} is not a folder to write to", "check the owner, or set proxy.spool")
    state = existing.stat()
    if existing == folder and (state.st_uid != os.getuid() or state.st_mode & _PRIVATE_MODE):
        return warning(check, f"{folder} is open to other users", "run: chmod 700, with the registry's user as owner")
    return ok(check, str(folder))


async def _check_url(options: UpstreamOptions, url: URL, now: datetime) -> AsyncIterator[Diagnosis]:
    host, port = url.host or "", url.port or 0
    check = f"upstream {host}: name"
    if options.http_proxy:
        yield skipped(check, "the connection goes through a proxy")
        return
    try:
        async with asyncio.timeout(_RESOLVE_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError) as error:
        reason = getattr(error, "strerror", None) or "no answer"
        yield failure(check, f"cannot be resolved: {reason}", "check the URL and the name servers of this machine")
        return
    yield ok(check, ", ".join(sorted({str(address[4][0]) for address in found})))
    if url.scheme == "https":
        yield await _check_certificate(options, host, port, now)


async def _check_certificate(options: UpstreamOptions, host: str, port: int, now: datetime) -> Diagnosis:
    check = f"upstream {host}: certificate"
    try:
        leaf = x509.load_der_x509_certificate(await presented_certificate(host, port, _context(options)))
    except ssl.SSLCertVerificationError as error:
        return failure(
            check, error.verify_message, "set proxy.upstreams[].ca to the authority of a private registry, or check url"
        )
    except ssl.SSLError as error:
        return failure(check, error.reason or "the handshake fails", "check that the URL is that of an HTTPS port")
    except (OSError, TimeoutError) as error:
        return failure(
            check, f"cannot be reached: {str(error) or type(error).__name__}", "check the firewall, the port"
        )
    days = (leaf.not_valid_after_utc - now).days
    if leaf.not_valid_after_utc - now < _EXPIRES_SOON:
        return warning(check, f"valid for {days} more days", "the operator of the upstream has to renew it")
    return ok(check, f"valid for {days} more days" + (", not verified (insecure)" if options.insecure else ""))


def _context(options: UpstreamOptions) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=options.ca)
    if options.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if options.certificate and options.key:
        context.load_cert_chain(options.certificate, options.key)
    return context


async def _check_sign_in(options: UpstreamOptions, upstream: Upstream) -> AsyncIterator[Diagnosis]:
    check = f"upstream {upstream.name}: sign-in"
    try:
        await upstream.check()
    except UpstreamBusyError as error:
        yield warning(check, str(error), "wait, or sign in with an account that has a larger quota")
        return
    except UpstreamError as error:
        yield failure(check, str(error), "check urls, the credentials, realms and httpproxy of this upstream")
        return
    yield ok(check, "with credentials" if has_credentials(options) else "anonymous")
    if set(HUB_HOSTS) & {URL(url).host for url in options.urls} and upstream.quota is None:
        try:
            await upstream.resolve(_QUOTA_REPOSITORY, Tag("latest"))
        except UpstreamError as error:
            yield skipped(f"upstream {upstream.name}: quota", str(error))
    if quota := upstream.quota:
        name, detail = f"upstream {upstream.name}: quota", f"{quota.remaining} of {quota.limit} pulls left"
        if quota.remaining < quota.limit * _FEW_PULLS:
            yield warning(name, detail, "sign in with an account, or raise recheck of this upstream")
        else:
            yield ok(name, detail)
