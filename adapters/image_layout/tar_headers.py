"""Headers of a tar archive (POSIX pax, GNU, ustar), read one by one, in bounded memory for any archive.

`tarfile` is not used for reading: it keeps every entry, and reads a whole extended header of any announced size.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from core.errors import ImageLayoutError

BLOCK: Final = 512
_EXTENDED_BYTES_MAX: Final = 64 * 1024
_ENTRIES_MAX: Final = 200_000
_CHECKSUM: Final = slice(148, 156)
_REGULAR: Final = frozenset({b"0", b"\0", b"7"})
_FOLDER: Final = b"5"
_PAX: Final = b"x"
_PAX_GLOBAL: Final = b"g"
_GNU_LONG_NAME: Final = b"L"
_LINKS: Final = frozenset({b"1", b"2"})
_PAX_RECORD: Final = re.compile(rb"(\d{1,6}) ([^=]{1,64})=")
_COMPRESSED: Final = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")


@dataclass(frozen=True, slots=True)
class TarEntry:
    """A regular file of an archive: its path without `./`, and the position of its bytes."""

    path: str
    start: int
    size: int


def read_entries(file: BinaryIO, size: int) -> Iterator[TarEntry]:
    """Yield the regular files of an archive of `size` bytes, in archive order.

    Raises:
        ImageLayoutError: the file is not a tar archive, is compressed or truncated, or contains an unsafe entry: a
            link, a device, an absolute path, or `..`.
    """
    position, count = 0, 0
    extended: dict[bytes, bytes] = {}
    while header := _header(file, position, size):
        count += 1
        if count > _ENTRIES_MAX:
            raise ImageLayoutError(f"the archive has more than {_ENTRIES_MAX} entries")
        kind, length, path = header[156:157], _length(header, extended), _path(header, extended)
        start = position + BLOCK
        position = start + -(-length // BLOCK) * BLOCK
        if start + length > size:
            raise ImageLayoutError(f"the archive is truncated: {path[:256]!r} is incomplete")
        if kind in {_PAX, _PAX_GLOBAL, _GNU_LONG_NAME}:
            content = _extended_header(file, start, length)
            if kind == _PAX:
                extended |= _records(content)
            elif kind == _GNU_LONG_NAME:
                extended[b"path"] = content.rstrip(b"\0")
            continue
        extended = {}
        if entry := _entry(kind, path, start, length):
            yield entry


def _header(file: BinaryIO, position: int, size: int) -> bytes:
    """Return the next header, or nothing at the end."""
    file.seek(position)
    block = file.read(BLOCK)
    if position == 0 and block.startswith(_COMPRESSED):
        raise ImageLayoutError("the archive is compressed: decompress it first")
    if len(block) < BLOCK:
        if position == 0 or position < size:
            raise ImageLayoutError("the file is not a tar archive")
        return b""
    if not block.strip(b"\0"):
        return b""
    expected = sum(block) - sum(block[_CHECKSUM]) + 8 * ord(" ")
    if _number(block[_CHECKSUM]) != expected:
        raise ImageLayoutError("the file is not a tar archive" if position == 0 else "the archive is damaged")
    return block


def _number(field: bytes) -> int:
    if field[:1] == b"\x80":
        # GNU's format for more than 8 GiB.
        return int.from_bytes(field[1:], "big")
    text = field.split(b"\0")[0].strip() or b"0"
    try:
        return int(text, 8) if text.isdigit() else -1
    except ValueError:
        return -1


def _length(header: bytes, extended: dict[bytes, bytes]) -> int:
    text = extended.get(b"size")
    length = _number(header[124:136]) if text is None else int(text) if text.isdigit() and len(text) < 20 else -1  # noqa: PLR2004
    if length < 0:
        raise ImageLayoutError("the archive is damaged: an entry has no size")
    return length


def _path(header: bytes, extended: dict[bytes, bytes]) -> str:
    raw = extended.get(b"path")
    if raw is None:
        name, prefix = header[:100].split(b"\0")[0], b""
        if header[257:263] == b"ustar\0":
            prefix = header[345:500].split(b"\0")[0]
        raw = prefix + b"/" + name if prefix else name
    return raw.decode("utf-8", "surrogateescape")


def _extended_header(file: BinaryIO, start: int, length: int) -> bytes:
    if length > _EXTENDED_BYTES_MAX:
        raise ImageLayoutError(f"the archive has an extended header of {length} bytes, which is too long")
    file.seek(start)
    return file.read(length)


def _records(content: bytes) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    while match := _PAX_RECORD.match(content):
        end = int(match[1])
        if end <= match.end():
            break
        found[match[2]] = content[match.end() : end - 1]
        content = content[end:]
    return found


def _entry(kind: bytes, path: str, start: int, length: int) -> TarEntry | None:
    components = [component for component in path.split("/") if component not in {"", "."}]
    if path.startswith("/") or ".." in components:
        raise ImageLayoutError(f"the archive contains a path outside of it: {path[:256]!r}")
    if kind == _FOLDER:
        return None
    if kind not in _REGULAR:
        what = "a link" if kind in _LINKS else "an entry of an unsupported type"
        raise ImageLayoutError(f"the archive contains {what}: {path[:256]!r} (docker-archive is not an image layout)")
    return TarEntry("/".join(components), start, length)


def render_header(path: str, size: int) -> bytes:
    """Return the header of a regular file: the same for the same arguments, on every machine.

    Names up to 100 bytes and sizes below 8 GiB fit into a ustar header; longer ones get an extended header before it.
    """
    records = b""
    name = path.encode()
    if len(name) > 100:  # noqa: PLR2004 - the field's length
        records += _record(b"path", name)
    if size >= 8**11:
        records += _record(b"size", str(size).encode())
    extended = b""
    if records:
        extended = _ustar(b"pax/" + name[-64:], len(records), _PAX) + records + bytes(-len(records) % BLOCK)
    return extended + _ustar(name[:100], size if size < 8**11 else 0, b"0")


def _record(key: bytes, value: bytes) -> bytes:
    body = b" " + key + b"=" + value + b"\n"
    length = len(body) + 1
    while len(str(length)) + len(body) != length:
        length += 1
    return str(length).encode() + body


def _ustar(name: bytes, size: int, kind: bytes) -> bytes:
    fields = struct.pack(
        "100s8s8s8s12s12s8sc100s6s2s32s32s8s8s155s12x",
        name, b"0000644\0", b"0000000\0", b"0000000\0", b"%011o\0" % size, b"%011o\0" % 0, b" " * 8, kind, b"",
        b"ustar\0", b"00", b"", b"", b"0000000\0", b"0000000\0", b"",
    )  # fmt: skip
    return fields[:148] + b"%06o\0 " % sum(fields) + fields[156:]
