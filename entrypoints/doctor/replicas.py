"""Checks of replicas: whether an upload that begins at one replica continues at the others."""

import secrets
from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from core.diagnosis import Diagnosis
from core.model.digest import Digest
from core.model.names import RepositoryName
from entrypoints.doctor.client import Answer, PublicRegistry, UnreachableError
from entrypoints.doctor.context import DoctorContext
from entrypoints.doctor.findings import failure, ok, skipped
from entrypoints.doctor.push import ScratchPush, clean_scratch

_ROUNDS: Final = 8
"""Number of uploads through the public address; one run in 250 misses that two replicas have different secrets."""
_CHECK: Final = "replicas: upload across replicas"
_OCTETS: Final = {"Content-Type": "application/octet-stream"}


async def check_replicas(doctor: DoctorContext) -> AsyncIterator[Diagnosis]:
    """Begin uploads at one replica and continue them at the next."""
    targets: Sequence[PublicRegistry] = doctor.replicas
    if not targets and doctor.public is not None:
        targets = [doctor.public]
    if not targets:
        yield skipped(_CHECK, "neither --replica nor --url was given")
        return
    scratch = ScratchPush(targets[0], RepositoryName(f"registry-doctor/{doctor.scratch_id}"))
    rounds = len(targets) if len(targets) > 1 else _ROUNDS
    for number in range(rounds):
        order = [targets[(number + step) % len(targets)] for step in range(3)]
        diagnosis = await _upload(order, scratch)
        if diagnosis is not None:
            yield diagnosis
            break
    else:
        yield ok(_CHECK, f"{rounds} uploads, each request on its own connection")
    yield await clean_scratch(doctor, scratch, "replicas: cleanup")


async def _upload(order: Sequence[PublicRegistry], scratch: ScratchPush) -> Diagnosis | None:
    first, second, third = order
    name, scope = scratch.name, f"repository:{scratch.name}:pull,push,delete"
    content = secrets.token_bytes(1024)
    digest = Digest.of(content)
    try:
        post = await first.request("POST", f"v2/{name}/blobs/uploads/", scope=scope)
        if post.status != HTTPStatus.ACCEPTED:
            return skipped(_CHECK, f"cannot start an upload at {first.url}: {post.describe()}")
        patch = await second.request("PATCH", second.here(post.location), body=content, headers=_OCTETS, scope=scope)
        if patch.status != HTTPStatus.ACCEPTED:
            return _explain(patch, first, second)
        target = third.here(patch.location)
        target = f"{target}{'&' if urlsplit(target).query else '?'}digest={digest}"
        put = await third.request("PUT", target, headers=_OCTETS, scope=scope)
    except UnreachableError as error:
        return failure(_CHECK, str(error), "check the address, and that the replica runs")
    scratch.digests.append(digest)
    return None if put.status == HTTPStatus.CREATED else _explain(put, second, third)


def _explain(answer: Answer, before: PublicRegistry, after: PublicRegistry) -> Diagnosis:
    where = "" if before.url == after.url else f" (started at {before.url}, continued at {after.url})"
    detail = f"{answer.describe()}{where}"
    if "BLOB_UPLOAD_INVALID" in answer.codes:
        return failure(_CHECK, detail, "set http.secret (REGISTRY_HTTP_SECRET) to the same text on all replicas")
    if "BLOB_UPLOAD_UNKNOWN" in answer.codes:
        return failure(
            _CHECK,
            detail,
            "use the same storage for all replicas; on NFS, without attribute caching (noac, lookupcache=none)",
        )
    return failure(_CHECK, detail, "make the load balancer send all requests to replicas of one registry")
