"""The last measurement of storage use, kept in the store as one object.

The object is compressed text: a line of JSON with the use of the store, then one line for each repository, in
descending order of own bytes. A process keeps the text of the last measurement that it read, about 60 bytes for each
repository.
"""

import json
import zlib
from bisect import bisect_right
from typing import Any, Final

from core.errors import NameInvalidError, ObjectNotFoundError, ObjectTooLargeError
from core.model.names import RepositoryName
from core.model.pagination import Page
from core.ports.blob_storage import BlobStorage, ObjectStat
from core.store import layout
from core.store.objects import find
from core.usage.measurement import Measurement, RepositoryUsage, order

_VERSION: Final = "usage 1"
_STORED_BYTES_MAX: Final = 64 * 1024 * 1024
_TEXT_BYTES_MAX: Final = 256 * 1024 * 1024


class StoredMeasurement:
    """A measurement that was read from the store.

    Args:
        text: the lines of the stored object, without the version.
    """

    def __init__(self, text: bytes) -> None:
        head, _, self._lines = text.partition(b"\n")
        self.store: dict[str, Any] = json.loads(head)
        """The use of the store, in the form of `StoreUsage.as_json`."""

    def repository(self, name: RepositoryName) -> RepositoryUsage | None:
        """Return the use of a repository; None if it had no content at the time of the measurement."""
        end = self._lines.find(f" {name}\n".encode())
        if end < 0:
            return None
        begin = self._lines.rfind(b"\n", 0, end) + 1
        return _parse(self._lines[begin : end + 1 + len(name)])

    def page(self, n: int, last: RepositoryUsage | None = None) -> Page[RepositoryUsage]:
        """Return the `n` repositories with the most own bytes, of those after `last`."""
        lines = self._lines.splitlines()
        first = 0 if last is None else bisect_right(lines, order(last), key=lambda line: order(_parse(line)))
        return Page(items=[_parse(line) for line in lines[first : first + n]], has_more=first + n < len(lines))


class UsageRecords:
    """Reads and writes the last measurement; one per process, safe for concurrent tasks."""

    def __init__(self, storage: BlobStorage) -> None:
        self._storage = storage
        self._known: tuple[ObjectStat, StoredMeasurement] | None = None

    async def save(self, measurement: Measurement) -> None:
        """Store a measurement in place of the last one. One request."""
        lines = [_VERSION, json.dumps(measurement.store.as_json())]
        lines += [f"{each.own} {each.shared} {each.blobs} {each.name}" for each in measurement.repositories]
        await self._storage.write(layout.USAGE, zlib.compress("\n".join([*lines, ""]).encode(), 1))

    async def last(self) -> StoredMeasurement | None:
        """Return the last measurement, or None if there is none that can be read. One request, two after a new one."""
        stat = await find(self._storage, layout.USAGE)
        if stat is None:
            return None
        if self._known is None or self._known[0] != stat:
            read = await self._read()
            if read is None:
                return None
            self._known = stat, read
        return self._known[1]

    async def _read(self) -> StoredMeasurement | None:
        try:
            content = await self._storage.read(layout.USAGE, limit=_STORED_BYTES_MAX)
            version, _, text = zlib.decompressobj().decompress(content, _TEXT_BYTES_MAX).partition(b"\n")
            return StoredMeasurement(text) if version == _VERSION.encode() else None
        except (ObjectNotFoundError, ObjectTooLargeError, zlib.error, ValueError):
            return None


def parse_position(text: str) -> RepositoryUsage | None:
    """Return the position in the list of repositories that `position_of` wrote, or None for any other text."""
    size, separator, name = text.partition("|")
    if not separator or not (size.isascii() and size.isdecimal()):
        return None
    try:
        return RepositoryUsage(name=RepositoryName(name), own=int(size[:18]), shared=0, blobs=0)
    except NameInvalidError:
        return None


def position_of(usage: RepositoryUsage) -> str:
    """Return the text that stands for the position after a repository."""
    return f"{usage.own}|{usage.name}"


def _parse(line: bytes) -> RepositoryUsage:
    own, shared, blobs, name = line.decode().split(" ")
    return RepositoryUsage(name=RepositoryName(name), own=int(own), shared=int(shared), blobs=int(blobs))
