"""Content of the endpoint, in memory or spooled to files; parts are never joined, so that 6 GiB fit."""

import hashlib
import os
import tempfile
import uuid
import weakref
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.support.scs_server.errors import Refusal

_IN_MEMORY_BYTES_MAX = 1024 * 1024
_PIECE_BYTES = 1024 * 1024
PART_BYTES_MIN = 5 * 1024 * 1024


class Segment:
    """Immutable run of bytes; its file is removed when nothing refers to the segment any more."""

    def __init__(self, content: bytes | Path, size: int) -> None:
        self._content = content
        self.size = size
        if isinstance(content, Path):
            weakref.finalize(self, content.unlink, missing_ok=True)

    def pieces(self, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes from `start` to `end`."""
        if isinstance(self._content, bytes):
            yield self._content[start:end]
            return
        with self._content.open("rb") as file:
            file.seek(start)
            while start < end:
                piece = file.read(min(_PIECE_BYTES, end - start))
                start += len(piece)
                yield piece


class SegmentWriter:
    """Receives a body piece by piece."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._memory = bytearray()
        self._path: Path | None = None
        self._md5 = hashlib.md5(usedforsecurity=False)
        self.size = 0

    def write(self, piece: bytes) -> None:
        self._md5.update(piece)
        self.size += len(piece)
        self._memory += piece
        if len(self._memory) > _IN_MEMORY_BYTES_MAX:
            self._spool()

    def _spool(self) -> None:
        if self._path is None:
            handle, name = tempfile.mkstemp(dir=self._folder)
            os.close(handle)
            self._path = Path(name)
        with self._path.open("ab") as file:
            file.write(self._memory)
        self._memory.clear()

    @property
    def md5(self) -> str:
        return self._md5.hexdigest()

    def finish(self) -> Segment:
        if self._path is None:
            return Segment(bytes(self._memory), self.size)
        self._spool()
        return Segment(self._path, self.size)

    def drop(self) -> None:
        """Discard a body that did not arrive completely."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


@dataclass
class StoredObject:
    segments: list[Segment]
    etag: str
    content_type: str
    modified_at: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))

    @property
    def size(self) -> int:
        return sum(segment.size for segment in self.segments)

    def pieces(self, start: int, end: int) -> Iterator[bytes]:
        for segment in self.segments:
            if start < segment.size and end > 0 and start < end:
                yield from segment.pieces(max(start, 0), min(end, segment.size))
            start -= segment.size
            end -= segment.size


@dataclass
class Upload:
    key: str
    content_type: str
    begun_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    parts: dict[int, tuple[Segment, str]] = field(default_factory=dict)


class Bucket:
    """Objects by key, sorted, and the open uploads."""

    def __init__(self) -> None:
        self.objects: dict[str, StoredObject] = {}
        self.uploads: dict[str, Upload] = {}
        self._keys: list[str] = []

    def put(self, key: str, stored: StoredObject) -> None:
        if key not in self.objects:
            insort(self._keys, key)
        self.objects[key] = stored

    def get(self, key: str) -> StoredObject:
        try:
            return self.objects[key]
        except KeyError:
            raise Refusal(404, "NoSuchKey", "The specified key does not exist.") from None

    def delete(self, key: str) -> None:
        if self.objects.pop(key, None) is not None:
            del self._keys[bisect_left(self._keys, key)]

    def rename(self, source: str, target: str) -> None:
        stored = self.get(source)
        self.put(target, stored)
        if source != target:
            self.delete(source)

    def begin_upload(self, key: str, content_type: str) -> str:
        upload_id = uuid.uuid4().hex
        self.uploads[upload_id] = Upload(key, content_type)
        return upload_id

    def upload(self, key: str, upload_id: str) -> Upload:
        upload = self.uploads.get(upload_id)
        if upload is None or upload.key != key:
            raise Refusal(404, "NoSuchUpload", "The specified upload does not exist.")
        return upload

    def complete(self, key: str, upload_id: str, wanted: list[tuple[int, str]]) -> StoredObject:
        upload = self.upload(key, upload_id)
        numbers = [number for number, _ in wanted]
        if not wanted or numbers != sorted(set(numbers)):
            raise Refusal(400, "InvalidPartOrder", "The parts are not in ascending order.")
        segments = []
        for number, etag in wanted:
            segment, known = upload.parts.get(number, (None, ""))
            if segment is None or etag.strip('"') != known:
                raise Refusal(400, "InvalidPart", f"part {number} is missing or another one")
            segments.append(segment)
        if any(segment.size < PART_BYTES_MIN for segment in segments[:-1]):
            raise Refusal(400, "EntityTooSmall", "a part but the last is smaller than 5 MiB")
        joined = b"".join(bytes.fromhex(upload.parts[number][1]) for number in numbers)
        etag = f"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(numbers)}"
        stored = StoredObject(segments, etag, upload.content_type)
        self.put(key, stored)
        del self.uploads[upload_id]
        return stored

    def listing(self, prefix: str, delimiter: str, marker: str, entries_max: int) -> tuple[list[str], list[str], bool]:
        """Return keys, common prefixes, and whether there are more, in byte order."""
        keys: list[str] = []
        prefixes: list[str] = []
        position = max(bisect_left(self._keys, prefix), bisect_right(self._keys, marker))
        while position < len(self._keys) and self._keys[position].startswith(prefix):
            key = self._keys[position]
            head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            common = prefix + head + found if found else ""
            if common and common <= marker:
                position = bisect_left(self._keys, common + "\U0010ffff", position)
                continue
            if len(keys) + len(prefixes) == entries_max:
                return keys, prefixes, True
            if common:
                prefixes.append(common)
                position = bisect_left(self._keys, common + "\U0010ffff", position)
            else:
                keys.append(key)
                position += 1
        return keys, prefixes, False
