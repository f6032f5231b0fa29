"""Checks of the configuration itself, mainly for settings that work on one machine and fail on two."""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from config.settings import StorageKind
from core.diagnosis import Diagnosis
from entrypoints.doctor.findings import ok, warning
from entrypoints.doctor.patient import Patient


async def examine_settings(patient: Patient) -> AsyncIterator[Diagnosis]:
    """Yield the loader's warnings, and check some settings that matter with replicas or proxies."""
    settings = patient.loaded.settings
    for text in patient.loaded.warnings:
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
    diagnosis = _host(patient)
    if diagnosis is not None:
        yield diagnosis


def _host(patient: Patient) -> Diagnosis | None:
    check, host = "configuration: http.host", patient.loaded.settings.http.host
    if not host or patient.public is None:
        return None
    said, used = urlsplit(host if "://" in host else f"https://{host}"), urlsplit(patient.public.url)
    if (said.scheme, said.netloc) == (used.scheme, used.netloc):
        return ok(check, host)
    return warning(
        check,
        f"links point to {host}, but clients use {patient.public.url}",
        "set http.host to the address that clients use, or remove it and make the proxy forward Host",
    )
