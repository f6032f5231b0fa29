"""Removal of keys in batches, and of trees, sparing keys that only begin with the same characters."""

import asyncio
from collections.abc import Iterable, Sequence
from itertools import groupby
from os.path import commonpath
from typing import Final

from adapters.blob_storage.s3.capabilities import Capability
from adapters.blob_storage.s3.client import StoreClient
from adapters.blob_storage.s3.errors import (
    ABSENT_CODE,
    TRANSIENT_CODES,
    AlreadyThereError,
    NotOfferedError,
    ObjectAbsentError,
    RefusedError,
)
from adapters.blob_storage.s3.listing import ListedPage, list_page, list_pages
from adapters.blob_storage.s3.multipart import abort_upload, list_uploads
from adapters.blob_storage.s3.staging import RECORD_SUFFIX, StagedRecord, read_record
from core.concurrency import map_bounded, slices
from core.errors import StorageCorruptError, StorageUnavailableError
from core.ports.blob_storage import KEYS_PER_REQUEST

_STAGING_DIRECTORY: Final = "/_uploads/"
"""Where distribution stages uploads, and leaves multipart uploads open without a trace in a listing of objects."""
_BEFORE_SLASH: Final = ".~"
"""Appended to a key, sorts before `key/` and after all valid keys that do (`.` is the last character before `/`)."""


async def delete_keys(client: StoreClient, store_keys: Sequence[str]) -> None:
    """Remove objects by their keys in the bucket, in order. One request per 1,000, or per key without DeleteObjects.

    Raises:
        StorageUnavailableError: at least one object was not removed; all batches were tried.
    """
    refused: dict[str, str] = {}
    for batch in slices(store_keys, KEYS_PER_REQUEST):
        refused |= await _delete_batch(client, batch)
    if refused:
        key, code = next(iter(refused.items()))
        raise StorageUnavailableError(
            f"{client.dialect.name}: delete_objects: {len(refused)} not deleted, first {key} ({code})"
        )


async def delete_object(client: StoreClient, store_key: str) -> None:
    """Remove one object by its key in the bucket; a missing object is not an error (Google's store answers 404)."""
    try:
        await client.call("delete_object", Key=store_key)
    except ObjectAbsentError:
        return


async def _delete_batch(client: StoreClient, store_keys: Sequence[str]) -> dict[str, str]:
    """Remove some objects; return the error code of each object that stayed after all retries."""
    if len(store_keys) == 1:
        await delete_object(client, store_keys[0])
        return {}
    if not client.capabilities.has(Capability.BATCH_DELETE):
        return await _delete_each(client, store_keys)
    try:
        return await _delete_together(client, store_keys)
    except (NotOfferedError, AlreadyThereError) as refusal:
        # A store may treat the request as a form upload with missing fields, and answer 412.
        refused = await _delete_each(client, store_keys)
        client.capabilities.lacks(Capability.BATCH_DELETE, refusal)
        return refused


async def _delete_each(client: StoreClient, store_keys: Sequence[str]) -> dict[str, str]:
    refused: dict[str, str] = {}

    async def delete_one(store_key: str) -> None:
        try:
            await delete_object(client, store_key)
        except RefusedError as error:
            refused[store_key] = str(error)

    await map_bounded(delete_one, store_keys)
    return refused


async def _delete_together(client: StoreClient, store_keys: Sequence[str]) -> dict[str, str]:
    pauses = client.options.retry.pauses()
    pending = list(store_keys)
    while True:
        objects = [{"Key": key} for key in pending]
        answer = await client.call("delete_objects", Delete={"Objects": objects, "Quiet": False})
        errors = {error["Key"]: str(error.get("Code", "")) for error in answer.get("Errors", [])}
        # Some stores report an object that another request has just deleted (versitygw).
        errors = {key: code for key, code in errors.items() if code != ABSENT_CODE}
        pause = next(pauses, None)
        if not errors or pause is None or not TRANSIENT_CODES.issuperset(errors.values()):
            return errors
        await asyncio.sleep(pause)
        pending = list(errors)


async def delete_trees(client: StoreClient, prefixes: Iterable[str], *, ended_here: bool) -> None:
    """Remove the objects at these prefixes and all below them, and abort the multipart uploads there.

    Holds the keys of all trees in memory, because they are deleted in descending order.

    Args:
        client: the open store.
        prefixes: valid prefixes of the port; `/` is everything.
        ended_here: whether all prefixes are sessions that this process itself ended; this saves the search for open
            uploads.
    """
    found: set[str] = set()
    for _, group in groupby(sorted(set(prefixes)), key=lambda prefix: prefix.rpartition("/")[0]):
        siblings = list(group)
        if len(siblings) == 1:
            found |= await _tree_keys(client, siblings[0])
        else:
            found |= await _sibling_keys(client, siblings)
    await _abort_below(client, found, ended_here=ended_here)
    await delete_keys(client, sorted(found, reverse=True))


async def _tree_keys(client: StoreClient, prefix: str) -> set[str]:
    """Return the keys of one tree. One request per 1,000, and one more if the first page is full."""
    key = client.store_key(prefix)
    if prefix == "/":
        return {entry["Key"] async for page in list_pages(client, key) for entry in page.objects}
    # Without the slash, so that one request also finds the key itself and its record.
    page = await list_page(client, key)
    if page.marker is None:
        found = {entry["Key"] for entry in page.objects}
        has_record = key + RECORD_SUFFIX in found and await _record_beside(client, key) is not None
        mine = {key, key + RECORD_SUFFIX} if has_record else {key}
        return {name for name in found if name in mine or name.startswith(f"{key}/")}
    pages = list_pages(client, f"{key}/")
    return {key} | {entry["Key"] async for page in pages for entry in page.objects}


async def _sibling_keys(client: StoreClient, prefixes: Sequence[str]) -> set[str]:
    """Return the keys of trees with one parent, in one pass that skips pages far from all of them."""
    found = {client.store_key(prefix) for prefix in prefixes}
    parent = client.store_key(f"{prefixes[0].rpartition('/')[0]}/")
    page: ListedPage | None = None
    for below in sorted(f"{key}/" for key in list(found)):
        if page is None or (page.marker is not None and page.last < below):
            page = await list_page(client, parent, marker=below[:-1] + _BEFORE_SLASH)
        found |= page.keys_below(below)
        while page.marker is not None and page.last.startswith(below):
            page = await list_page(client, parent, marker=page.marker)
            found |= page.keys_below(below)
    return found


async def _abort_below(client: StoreClient, store_keys: Iterable[str], *, ended_here: bool) -> None:
    """Abort the multipart uploads next to records, and those that other programs left in staging directories."""
    staged = {key for key in store_keys if key.endswith(RECORD_SUFFIX)}
    if not ended_here:
        staged |= {key for key in store_keys if _STAGING_DIRECTORY in f"/{key}"}
    if not staged:
        return
    for name in staged:
        if name.endswith(RECORD_SUFFIX):
            await _abort_recorded(client, name.removesuffix(RECORD_SUFFIX))
    directories = {name.rpartition("/")[0] for name in staged}
    async for upload in list_uploads(client, commonpath(sorted(directories))):
        if upload.store_key.rpartition("/")[0] in directories:
            await abort_upload(client, upload.store_key, upload.upload_id)


async def _abort_recorded(client: StoreClient, store_key: str) -> None:
    # Not every store can list its uploads.
    record = await _record_beside(client, store_key)
    if record is not None and record.upload.id:
        await abort_upload(client, store_key, record.upload.id)


async def _record_beside(client: StoreClient, store_key: str) -> StagedRecord | None:
    try:
        return await read_record(client, client.port_key(store_key))
    except StorageCorruptError:
        # An object of another program that happens to have such a name.
        return None
