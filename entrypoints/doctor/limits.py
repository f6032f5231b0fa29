"""Checks of the maximum request size: proxies have limits that small images never reach."""

from collections.abc import AsyncIterator, Iterator
from http import HTTPStatus
from typing import Final

from core.diagnosis import Diagnosis
from entrypoints.doctor.client import Answer, PublicRegistry, UnreachableError
from entrypoints.doctor.context import MIB, DoctorContext
from entrypoints.doctor.findings import failure, ok, skipped, warning

_SIZES: Final = (2 * MIB, 16 * MIB, 128 * MIB)
"""Above nginx's default of 1 MiB, above 10 MiB, and above the 100 MB of some providers."""
_PIECE: Final = bytes(64 * 1024)
_REMEDY: Final = (
    "raise the body size limit of the proxy or provider (nginx: client_max_body_size 0; Traefik: no buffering "
    "middleware; if the provider's limit is fixed, push to another address)"
)


async def check_limits(doctor: DoctorContext) -> AsyncIterator[Diagnosis]:
    """Upload bodies of increasing size to upload sessions that are cancelled afterwards."""
    if doctor.public is None:
        return
    sizes = [size for size in _SIZES if size < doctor.largest_body] + [doctor.largest_body]
    for size in sizes:
        diagnosis = await _try(doctor, doctor.public, size)
        yield diagnosis
        if diagnosis.remedy:
            return


async def _try(doctor: DoctorContext, registry: PublicRegistry, size: int) -> Diagnosis:
    check = f"limits: a body of {size // MIB or 1} MiB"
    name = f"registry-doctor/{doctor.scratch_id}"
    scope = f"repository:{name}:pull,push,delete"
    try:
        post = await registry.request("POST", f"v2/{name}/blobs/uploads/", scope=scope)
    except UnreachableError as error:
        return skipped(check, str(error))
    if post.status != HTTPStatus.ACCEPTED:
        return skipped(check, f"cannot start an upload: {post.describe()}")
    upload = registry.here(post.location)
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
    try:
        patch = await registry.request("PATCH", upload, body=_pieces(size), headers=headers, scope=scope)
        return _judge(check, size, patch)
    except UnreachableError as error:
        return failure(check, f"connection lost: {error}", _REMEDY)
    finally:
        await _cancel(registry, upload, scope)


def _judge(check: str, size: int, answer: Answer) -> Diagnosis:
    if answer.status == HTTPStatus.ACCEPTED:
        return ok(check, f"{size / MIB / max(answer.seconds, 0.001):.0f} MiB/s")
    if answer.codes:
        return warning(check, answer.describe(), "check http.limits.uploadsize of the registry")
    return failure(check, answer.describe(), _REMEDY)


async def _cancel(registry: PublicRegistry, upload: str, scope: str) -> None:
    try:
        await registry.request("DELETE", upload, scope=scope)
    except UnreachableError:
        # The upload is removed with the scratch repository, or purged after a week.
        return


async def _pieces(size: int) -> AsyncIterator[bytes]:
    for piece in _cut(size):
        yield piece


def _cut(size: int) -> Iterator[bytes]:
    for start in range(0, size, len(_PIECE)):
        yield _PIECE[: min(len(_PIECE), size - start)]
