"""The catalog in a text file, `SEARCH_BACKEND=LOCAL`, in the format of the old registry."""

import asyncio
import errno
import logging
import os
from bisect import bisect_right
from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from typing_extensions import override

from adapters.catalog_index.file_diagnosis import diagnose_file
from adapters.catalog_index.journal import ChangeJournal
from adapters.catalog_index.name_file import NameFile
from core.diagnosis import Diagnosable, Diagnosis
from core.errors import CatalogLostError, CatalogUnavailableError
from core.model.names import RepositoryName
from core.model.pagination import Page
from core.ports.catalog_index import CatalogIndex

_LOGGER: Final = logging.getLogger(__name__)

DEFAULT_PATH: Final = Path("/opt/registry/repositories")
"""The path in the old registry (docker-registry-driver-sohustorage)."""

T = TypeVar("T")

_REMEDIES: Final = {
    errno.ENOENT: "it does not exist: create its folder, in which the registry creates it, or mount the file there",
    errno.ENOTDIR: "its folder is not a folder",
    errno.EISDIR: "it is a folder (Docker creates one if the file to mount is missing on the host): "
    "remove the folder and create an empty file with touch",
    errno.EACCES: "user {user} may not read and write it: change its owner or mode",
    errno.EPERM: "user {user} may not read and write it: change its owner or mode",
    errno.EROFS: "it is on a read-only file system: mount it writable",
}


class LocalFileCatalogIndex(CatalogIndex, Diagnosable):
    """Names in one file, one a line, shared by the processes of a machine; one per process, opened once.

    The names are kept in memory, sorted, and read again when the file has changed: a page costs a stat and a binary
    search. Adding a new name costs an fsync, adding a known one a lock; removing and replacing write the file twice.
    `name_file` describes the states that a crash can leave.

    An unusable file does not prevent the start; instead every call raises an error with the reason and the remedy.

    Args:
        path: the file. Only `replace_all` creates it, and logs that, if its folder exists.
        lock_seconds_max: how long to wait for another process in the middle of a change.
    """

    name = "local"

    def __init__(self, path: Path = DEFAULT_PATH, *, lock_seconds_max: float = 10.0) -> None:
        self._path = path
        self._file = NameFile(path, lock_seconds_max=lock_seconds_max)
        self._journal = ChangeJournal()
        self._thread: ThreadPoolExecutor | None = None

    @override
    async def start(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="catalog-file")

    @override
    async def stop(self) -> None:
        if self._thread is not None:
            await asyncio.to_thread(self._thread.shutdown)
            self._thread = None

    @override
    async def add(self, name: RepositoryName) -> bool:
        self._journal.note(name, present=True)
        return await self._run(lambda: self._file.add(name))

    @override
    async def remove(self, name: RepositoryName) -> None:
        self._journal.note(name, present=False)
        await self._run(lambda: self._file.replace(lambda names: [each for each in names if each != name]))

    @override
    async def page(self, *, after: str, limit: int) -> Page[RepositoryName]:
        def cut() -> tuple[Sequence[str], bool]:
            names = self._file.names()
            start = bisect_right(names, after)
            return names[start : start + limit], 0 < limit < len(names) - start

        items, has_more = await self._run(cut)
        return Page(items=[RepositoryName(item) for item in items], has_more=has_more)

    @override
    async def replace_all(self, names: AsyncIterable[RepositoryName]) -> None:
        with self._journal.recording() as changes:
            before = await self._run(self._names_or_none)
            wanted = {name async for name in names}
            if before is None:
                if await self._create({name for name in wanted if changes.get(name, True)}):
                    return
                # Its names are from another scan of storage, which is as new as this one.
                before = frozenset()
            old = before

            def renew(present: Sequence[str]) -> Iterable[str]:
                # Names that other processes added in the meantime are in the file now and were not before.
                kept = wanted.union(name for name in present if name not in old)
                # A copy, because the event loop may record a change while this thread reads.
                latest = changes.copy()
                added = {name for name, is_present in latest.items() if is_present}
                return (kept | added) - (latest.keys() - added)

            await self._run(lambda: self._file.replace(renew))

    @property
    @override
    def is_derived(self) -> bool:
        return False

    @override
    async def check(self) -> None:
        await self._run(self._file.names)

    @override
    async def diagnose(self) -> Sequence[Diagnosis]:
        return await asyncio.to_thread(diagnose_file, self._path)

    def _names_or_none(self) -> frozenset[str] | None:
        """Return the names; None if the file is missing and can be created."""
        try:
            return frozenset(self._file.names())
        except FileNotFoundError:
            # Otherwise every attempt would scan storage in vain.
            self._file.require_creatable()
            return None

    async def _create(self, names: AbstractSet[str]) -> bool:
        is_created = await self._run(lambda: self._file.create(names))
        if is_created:
            _LOGGER.warning(
                "catalog file %s was missing and was created; mount a file there to keep it",
                self._path,
                extra={"index": self.name},
            )
        return is_created

    async def _run(self, work: Callable[[], T]) -> T:
        if self._thread is None:
            raise CatalogUnavailableError(f"the catalog file {self._path} is not open")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except FileNotFoundError as error:
            raise CatalogLostError(self._explain(error)) from error
        except OSError as error:
            raise CatalogUnavailableError(self._explain(error)) from error

    def _explain(self, error: OSError) -> str:
        remedy = _REMEDIES.get(error.errno or 0, error.strerror or type(error).__name__)
        return f"the catalog file {self._path} cannot be used: {remedy.format(user=os.geteuid())}"
