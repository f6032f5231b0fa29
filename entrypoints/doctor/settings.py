"""Checks of the configuration itself, mainly for settings that work on one machine and fail on two."""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from config.settings import StorageKind
from core.diagnosis import Diagnosis
from entrypoints.doctor.context import DoctorContext
from entrypoints.doctor.findings import ok, warning


async def check_configuration(doctor: DoctorContext) -> AsyncIterator[Diagnosis]:
    """Yield the loader's warnings, and check some settings that matter with replicas or proxies."""
    settings = doctor.loaded.settings
    for text in doctor.loaded.warnings:
        yield warning("configuration: warnings", text, "change or remove the key")
    if settings.http.secret is None:
        yield warning(
            "configuration: http.secret",
            "not set: each process generates its own, so uploads cannot continue at another one or after a restart",
            "set http.secret (REGISTRY_HTTP_SECRET) to the same random text on all replicas",
        )
    else:
        yield ok("configuration: http.secret", "set")
    if settings.storage.kind is StorageKind.INMEMORY:
        yield warning(
            "configuration: storage",
            "images are kept in memory and are lost when the process ends",
            "use s3, scs or filesystem",
        )
    if not settings.storage.delete_enabled:
        yield warning(
            "configuration: storage.delete", "deletion is disabled", "set storage.delete.enabled to delete images"
        )
    diagnosis = _host(doctor)
    if diagnosis is not None:
        yield diagnosis


def _host(doctor: DoctorContext) -> Diagnosis | None:
    check, host = "configuration: http.host", doctor.loaded.settings.http.host
    if not host or doctor.public is None:
        return None
    configured, used = urlsplit(host if "://" in host else f"https://{host}"), urlsplit(doctor.public.url)
    if (configured.scheme, configured.netloc) == (used.scheme, used.netloc):
        return ok(check, host)
    return warning(
        check,
        f"links point to {host}, but clients use {doctor.public.url}",
        "set http.host to the address that clients use, or remove it and make the proxy forward Host",
    )
