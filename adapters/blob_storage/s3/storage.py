"""Blob storage in an S3 bucket."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from datetime import datetime
from typing import Any, Final

from typing_extensions import override

from adapters.blob_storage.keys import is_key, require_key, require_prefix
from adapters.blob_storage.s3 import names
from adapters.blob_storage.s3.body import Body
from adapters.blob_storage.s3.capabilities import Capability
from adapters.blob_storage.s3.client import StoreClient
from adapters.blob_storage.s3.dialect import S3, Dialect
from adapters.blob_storage.s3.errors import AlreadyThereError, NotOfferedError
from adapters.blob_storage.s3.listing import list_page, list_pages, plain_md5
from adapters.blob_storage.s3.moving import Mover
from adapters.blob_storage.s3.multipart import abort_upload, list_uploads
from adapters.blob_storage.s3.options import S3Options
from adapters.blob_storage.s3.part_memory import PartMemory, memory_of_uploads
from adapters.blob_storage.s3.reader import ObjectReader, open_object
from adapters.blob_storage.s3.removal import delete_keys, delete_trees
from adapters.blob_storage.s3.session_memory import SessionMemory
from adapters.blob_storage.s3.shared_use import SharedUse
from adapters.blob_storage.s3.staging import staged_size
from adapters.blob_storage.s3.uploading import put_object
from adapters.blob_storage.s3.writer import StagedWriter
from core.diagnosis import Diagnosable, Diagnosis, Verdict
from core.errors import ObjectBusyError, ObjectNotFoundError, ObjectTooLargeError, StorageError
from core.ports.blob_storage import SMALL_OBJECT_BYTES_MAX, ObjectStat
from core.ports.staging import StagingStorage

_PROBE_ATTEMPTS: Final = 2

logger = logging.getLogger(__name__)


class S3BlobStorage(StagingStorage, Diagnosable):
    """Objects in one bucket, under one prefix; opened once per process, for any number of tasks.

    Opening lists one key, so that a wrong access key, bucket or region is reported at start and not at the first push.

    Args:
        options: access to the bucket, limits and retries.
        dialect: deviations of the store from S3.
        shared: the memory use of the uploads of all processes of the server; None for a process alone.
    """

    name = "s3"

    def __init__(self, options: S3Options, *, dialect: Dialect = S3, shared: SharedUse | None = None) -> None:
        options.require_usable()
        self._options = options
        self._dialect = dialect
        self.name = dialect.name
        self._stack = AsyncExitStack()
        self._opened: tuple[StoreClient, Mover, PartMemory] | None = None
        self._sessions = SessionMemory()
        self._shared = shared or SharedUse()
        self._busy: set[str] = set()
        self._creating = asyncio.Lock()
        self.creates_exclusively = dialect.writes_conditionally
        self._etag_is_md5 = dialect.etag_is_md5

    @override
    async def start(self) -> None:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(StoreClient.open(self._options, self._dialect))
            await list_page(client, client.store_key("/"), entries_max=1, attempts=_PROBE_ATTEMPTS)
            # The process has taken its place among the others only now.
            self._opened = client, Mover(client), memory_of_uploads(self._options, self._shared)
            self._stack = stack.pop_all()

    @override
    async def stop(self) -> None:
        self._opened = None
        await self._stack.aclose()

    @property
    def client(self) -> StoreClient:
        """The open bucket."""
        return self._open_parts()[0]

    @property
    def upload_memory(self) -> PartMemory:
        """The memory of all uploads of this process."""
        return self._open_parts()[2]

    @property
    def _mover(self) -> Mover:
        return self._open_parts()[1]

    def _open_parts(self) -> tuple[StoreClient, Mover, PartMemory]:
        if self._opened is None:
            raise RuntimeError("the storage is not open")
        return self._opened

    @override
    async def read(self, key: str, *, limit: int = SMALL_OBJECT_BYTES_MAX) -> bytes:
        answer = await self.client.call("get_object", key=require_key(key), bytes_max=limit)
        content: bytes | None = answer["Content"]
        if content is None:
            raise ObjectTooLargeError(key, size=int(answer["ContentLength"]), limit=limit)
        return content

    @override
    async def write(self, key: str, content: bytes, *, durable: bool = True) -> None:
        stored = await put_object(self.client, require_key(key), Body(content))
        if stored.etag_is_md5 is not None:
            self._etag_is_md5 = stored.etag_is_md5

    @override
    async def create(self, key: str, content: bytes) -> bool:
        refusal: NotOfferedError | None = None
        if self.creates_exclusively:
            try:
                await put_object(self.client, require_key(key), Body(content), if_absent=True)
            except AlreadyThereError:
                return False
            except NotOfferedError as error:
                refusal = error
            else:
                return True
        # Without conditional writes, check for the object first; the lock allows one task at a time.
        async with self._creating:
            try:
                await self.stat(key)
            except ObjectNotFoundError:
                await self.write(key, content)
                if refusal is not None:
                    self.client.capabilities.lacks(Capability.CONDITIONAL_WRITE, refusal)
                    self.creates_exclusively = False
                return True
            return False

    @asynccontextmanager
    @override
    async def open_reader(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[ObjectReader]:
        async with open_object(self.client, require_key(key), offset=offset, length=length) as reader:
            yield reader

    @asynccontextmanager
    @override
    async def open_writer(
        self, key: str, *, resume: bool = False, is_first: bool = False, witness: str | None = None
    ) -> AsyncIterator[StagedWriter]:
        if require_key(key) in self._busy:
            raise ObjectBusyError(key)
        self._busy.add(key)
        try:
            writer = self._writer(key, is_fresh=not resume or self._sessions.is_superseded(key))
            try:
                if resume and not self._sessions.is_superseded(key):
                    await writer.take_up()
                try:
                    yield writer
                except BaseException:
                    await self._suspend_after_error(writer)
                    raise
                await writer.suspend()
            finally:
                writer.release()
        finally:
            self._busy.discard(key)

    def _writer(self, key: str, *, is_fresh: bool) -> StagedWriter:
        client, mover, memory = self._open_parts()
        return StagedWriter(client, key, mover=mover, sessions=self._sessions, memory=memory, is_fresh=is_fresh)

    async def _suspend_after_error(self, writer: StagedWriter) -> None:
        try:
            await writer.suspend()
        except StorageError as error:
            # The block's own error must be raised; the size in the next block shows how many bytes were kept.
            logger.warning("%s: cannot save staged bytes: %s", self.name, error)

    @override
    async def staged_size(self, key: str) -> int:
        if self._sessions.is_superseded(require_key(key)):
            return 0
        return await staged_size(self.client, key)

    @override
    async def stat(self, key: str) -> ObjectStat:
        answer = await self.client.call("head_object", key=require_key(key))
        is_kms = str(answer.get("ServerSideEncryption", "")).startswith("aws:kms")
        return self._stat_of(answer, answer["ContentLength"], is_md5=not is_kms)

    def _stat_of(self, entry: dict[str, Any], size: int, *, is_md5: bool = True) -> ObjectStat:
        # In a bucket with KMS encryption an ETag looks like an MD5 but is not one, and a listing does not show the
        # encryption. So ETags count as MD5s only after a write has proved that this bucket's ETags are MD5s.
        md5 = plain_md5(entry.get("ETag")) if is_md5 and self._etag_is_md5 else None
        return ObjectStat(size=int(size), modified_at=entry["LastModified"], md5=md5)

    @override
    async def list_child_pages(self, prefix: str, *, after: str = "") -> AsyncIterator[Sequence[str]]:
        async with aclosing(names.children(self.client, require_prefix(prefix), after)) as pages:
            async for page in pages:
                yield [name for name in page if is_key(f"/{name}")]

    @override
    async def list_marked(
        self, prefix: str, mark: str, *, after: str = "", passing_over: str = ""
    ) -> AsyncIterator[str]:
        async with aclosing(names.marked(self.client, require_prefix(prefix), mark, after)) as pages:
            async for paths in pages:
                for path in paths:
                    if is_key(f"/{path}"):
                        yield path

    @override
    async def walk(self, prefix: str) -> AsyncIterator[tuple[str, ObjectStat]]:
        client = self.client
        async with aclosing(list_pages(client, client.store_key(require_prefix(prefix)))) as pages:
            async for page in pages:
                for entry in page.objects:
                    # Web consoles create "folders": empty objects whose key ends in a slash.
                    if is_key(key := client.port_key(entry["Key"])):
                        yield key, self._stat_of(entry, entry["Size"])

    @override
    async def walk_within(self, prefix: str, directory: str) -> AsyncIterator[tuple[str, ObjectStat]]:
        client = self.client
        found = names.entries_within(client, client.store_key(require_prefix(prefix)), directory)
        async with aclosing(found) as entries:
            async for entry in entries:
                if is_key(key := client.port_key(entry["Key"])):
                    yield key, self._stat_of(entry, entry["Size"])

    @override
    async def move(self, source: str, target: str) -> None:
        require_key(target)
        size = (await self.stat(source)).size
        if source != target:
            await self._mover.move(source, target, size)

    @override
    async def delete(self, keys: Sequence[str]) -> None:
        client = self.client
        await delete_keys(client, [client.store_key(require_key(key)) for key in keys])
        for key in keys:
            self._sessions.forget(key)

    @override
    async def delete_tree(self, *prefixes: str) -> None:
        for prefix in prefixes:
            require_prefix(prefix)
        ended_here = all(self._sessions.take_end(prefix) for prefix in prefixes)
        await delete_trees(self.client, prefixes, ended_here=ended_here)

    @override
    async def drop_unfinished(
        self, prefix: str, *, before: datetime, is_spared: Callable[[str], bool], dry_run: bool = False
    ) -> Sequence[str]:
        client = self.client
        dropped = []
        async with aclosing(list_uploads(client, client.store_key(require_prefix(prefix)))) as uploads:
            async for upload in uploads:
                key = client.port_key(upload.store_key)
                # If the store does not report when an upload was begun, the upload is kept.
                if upload.begun_at is None or upload.begun_at >= before or is_spared(key):
                    continue
                if not dry_run:
                    await abort_upload(client, upload.store_key, upload.upload_id)
                dropped.append(key)
        return dropped

    @override
    async def redirect_url(self, key: str, *, method: str) -> str | None:
        # A URL that is signed for GET is not valid for any other method.
        if method != "GET":
            return None
        return await self.client.presign(require_key(key))

    @override
    async def diagnose(self) -> Sequence[Diagnosis]:
        check = "store: unsupported requests"
        findings = self.client.capabilities.findings()
        if not findings:
            return [Diagnosis(check=check, verdict=Verdict.OK, detail="none so far")]
        return [
            Diagnosis(check=f"{check}: {capability}", verdict=Verdict.OK, detail=detail)
            for capability, detail in findings.items()
        ]

    @override
    async def check(self) -> None:
        client = self.client
        await list_page(client, client.store_key("/"), entries_max=1, attempts=1)
