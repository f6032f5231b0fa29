"""Checks of the store: reading after writing, listing, and deletion."""

import hashlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from core.concurrency import map_bounded
from core.diagnosis import Diagnosable, Diagnosis
from core.errors import StorageError, StorageFullError
from core.ports.staging import StagingStorage
from core.store import layout
from core.store.objects import find
from entrypoints.doctor.context import MIB, DoctorContext
from entrypoints.doctor.findings import failure, ok, skipped, warning

_LARGE_PIECES: Final = 13
"""Size in MiB; larger than one part of a multipart upload, whose parts have at least 5 MiB and by default 10."""
_CREATORS: Final = 5

_REMEDIES: Final = {
    "write and read": "permit the registry's key or user to read and write below its root: s3:GetObject, "
    "s3:PutObject, or the folder's owner and mode",
    "overwrite": "the store returns stale content: turn off caches and versions that delay writes, and use a store "
    "with read-after-write consistency",
    "list": "permit s3:ListBucket on the bucket; if listings lag, tags, collection and the catalog are wrong",
    "create once": "the store lets two clients create one object: immutable tags and leases work in one replica only",
    "large object": "permit multipart uploads: s3:PutObject, s3:AbortMultipartUpload, s3:ListMultipartUploadParts; and "
    "check the free space",
    "move": "permit s3:GetObject and s3:PutObject for copies inside the bucket",
    "delete": "permit s3:DeleteObject (or writing to the folder): without it nothing is ever deleted or collected",
}

_FULL: Final = "the storage is full"
_SPACE: Final = (
    "free space: delete images, run `registry garbage-collect`, then `registry trash empty`; both work on a full disk"
)

Step = Callable[[StagingStorage, str], Awaitable[Diagnosis | None]]


async def check_storage(doctor: DoctorContext) -> AsyncIterator[Diagnosis]:
    """Write, read, list, overwrite, move and delete scratch objects, then yield the diagnoses of the adapter."""
    storage = doctor.application.storage
    scratch = layout.doctor(doctor.scratch_id)
    steps: dict[str, Step] = {
        "write and read": _write_and_read,
        "overwrite": _overwrite,
        "list": _list,
        "create once": _create_once,
        "large object": _large_object,
        "move": _move,
        "delete": _delete,
    }
    is_full = False
    for check, step in steps.items():
        try:
            yield await _run(check, step, storage, f"{scratch}/{check.replace(' ', '-')}")
        except StorageFullError as error:
            # Report a full storage only once.
            yield skipped(f"storage: {check}", _FULL) if is_full else failure(f"storage: {check}", str(error), _SPACE)
            is_full = True
    yield await _clean(storage, scratch)
    if isinstance(storage, Diagnosable):
        for diagnosis in await storage.diagnose():
            yield diagnosis


async def _run(check: str, step: Step, storage: StagingStorage, prefix: str) -> Diagnosis:
    try:
        found = await step(storage, prefix)
    except StorageFullError:
        raise
    except StorageError as error:
        return failure(f"storage: {check}", str(error), _REMEDIES[check])
    return found or ok(f"storage: {check}")


def _wrong(check: str, detail: str) -> Diagnosis:
    return failure(f"storage: {check}", detail, _REMEDIES[check])


async def _write_and_read(storage: StagingStorage, prefix: str) -> Diagnosis | None:
    content = secrets.token_bytes(1000)
    await storage.write(f"{prefix}/object", content)
    if await storage.read(f"{prefix}/object") != content:
        return _wrong("write and read", "the content read differs from the content written")
    stat = await storage.stat(f"{prefix}/object")
    return (
        None
        if stat.size == len(content)
        else _wrong("write and read", f"the store reports {stat.size} bytes instead of 1000")
    )


async def _overwrite(storage: StagingStorage, prefix: str) -> Diagnosis | None:
    for number in range(5):
        content = b"version %d" % number
        await storage.write(f"{prefix}/object", content)
        if await storage.read(f"{prefix}/object") != content:
            return _wrong("overwrite", "a read returned the content before the last write")
    return None


async def _list(storage: StagingStorage, prefix: str) -> Diagnosis | None:
    names = ["a", "b", "b-c"]
    for name in names:
        await storage.write(f"{prefix}/{name}/object", b"x")
    listed = [name async for name in storage.list_children(prefix)]
    walked = [key async for key, _ in storage.walk(prefix)]
    if listed != names or set(walked) != {f"{prefix}/{name}/object" for name in names}:
        return _wrong("list", f"of 3 new objects, two listings contain {len(listed)} and {len(walked)}")
    await storage.delete_tree(f"{prefix}/a")
    if [name async for name in storage.list_children(prefix)] != names[1:]:
        return _wrong("list", "a listing contains an object that was just deleted")
    return None


async def _create_once(storage: StagingStorage, prefix: str) -> Diagnosis | None:
    async def create(number: int) -> bool:
        return await storage.create(f"{prefix}/object", b"%d" % number)

    winners = sum(await map_bounded(create, range(_CREATORS)))
    if winners != 1:
        return _wrong("create once", f"{winners} of {_CREATORS} concurrent requests created the same object")
    if not storage.creates_exclusively:
        return warning(
            "storage: create once",
            "this store creates objects exclusively within one process only",
            "push immutable tags through one replica, or use a store with conditional writes",
        )
    return None


async def _large_object(storage: StagingStorage, prefix: str) -> Diagnosis | None:
    piece = secrets.token_bytes(MIB)
    expected = hashlib.sha256()
    for half in (range(_LARGE_PIECES // 2), range(_LARGE_PIECES // 2, _LARGE_PIECES)):
        # Write in two sessions, like the chunks of a push that arrive at two replicas.
        async with storage.open_writer(f"{prefix}/staged", resume=half.start > 0) as writer:
            if writer.size != half.start * MIB:
                return _wrong("large object", f"an upload of {half.start} MiB resumed at {writer.size} bytes")
            for _ in half:
                await writer.write(piece)
                expected.update(piece)
            if half.start > 0:
                await writer.commit(f"{prefix}/object")
    actual = hashlib.sha256()
    async with storage.open_reader(f"{prefix}/object") as reader:
        async for chunk in reader:
            actual.update(chunk)
    if actual.digest() != expected.digest():
        return _wrong("large object", "the content read differs from the parts uploaded")
    return None


async def _move(storage: StagingStorage, prefix: str) -> Diagnosis | None:
    await storage.write(f"{prefix}/source", b"moved")
    await storage.move(f"{prefix}/source", f"{prefix}/target")
    if await find(storage, f"{prefix}/source") or await storage.read(f"{prefix}/target") != b"moved":
        return _wrong("move", "an object is missing at the new key, or still exists at the old key")
    return None


async def _delete(storage: StagingStorage, prefix: str) -> Diagnosis | None:
    for name in ("one", "tree/two", "tree/three"):
        await storage.write(f"{prefix}/{name}", b"x")
    await storage.delete([f"{prefix}/one"])
    await storage.delete_tree(f"{prefix}/tree")
    left = [name for name in ("one", "tree/two", "tree/three") if await find(storage, f"{prefix}/{name}")]
    return _wrong("delete", f"still readable after deletion: {', '.join(left)}") if left else None


async def _clean(storage: StagingStorage, scratch: str) -> Diagnosis:
    check = "storage: cleanup"
    try:
        await storage.delete_tree(scratch)
        left = [key async for key, _ in storage.walk(scratch)]
    except StorageError as error:
        return failure(check, f"cannot remove {scratch}: {error}", _REMEDIES["delete"])
    if left:
        return failure(check, f"{len(left)} objects remain below {scratch}", _REMEDIES["delete"])
    return ok(check)
