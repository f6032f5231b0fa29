"""Byte ranges of blobs (RFC 9110, section 14) and of upload chunks (OCI distribution-spec 1.1, end-5)."""

import re
from dataclasses import dataclass
from typing import Final

from core.errors import RangeInvalidError, SizeMismatchError, UploadRangeError

_SINGLE: Final = re.compile(r"bytes=\s*([0-9]{0,18})-([0-9]{0,18})\s*", re.ASCII)
_UNIT: Final = re.compile(r"bytes\s*=", re.IGNORECASE)
_CHUNK: Final = re.compile(r"(?:bytes[ =])?\s*([0-9]{1,18})-([0-9]{1,18})(?:/(?:[0-9]+|\*))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """What a client asks for: `start` to `end` inclusive; `start` None for the last `end` bytes."""

    start: int | None
    end: int | None

    @property
    def needs_size(self) -> bool:
        """Whether only the size of the blob tells what is meant: the last bytes, or nothing at all."""
        return self.start is None or (self.end is not None and self.end < self.start)

    def resolve(self, size: int) -> tuple[int, int]:
        """Return offset and length within `size` bytes.

        Raises:
            RangeInvalidError: none of it lies within.
        """
        if self.start is None:
            length = min(self.end or 0, size)
            offset = size - length
        else:
            offset = self.start
            length = (size if self.end is None else min(self.end + 1, size)) - offset
        if length <= 0:
            raise RangeInvalidError(size)
        return offset, length


def parse_range(header: str | None) -> ByteRange | None:
    """Read a `Range` header; None where the whole blob is to be sent.

    Another unit, and more than one range, may be answered with the whole (RFC 9110, 14.2). What is malformed becomes a
    range of nothing, which is answered 416 as distribution does, and as the OCI conformance suite wants for `500-0`.
    """
    if header is None or "," in header or not _UNIT.match(header):
        return None
    found = _SINGLE.fullmatch(header)
    first, last = found.groups() if found else ("", "")
    return ByteRange(int(first) if first else None, int(last) if last else None)


def check_chunk_range(header: str | None, *, offset: int, content_length: int | None) -> None:
    """Check the `Content-Range` of a chunk against where its session stands.

    Raises:
        UploadRangeError: it starts elsewhere, or is malformed.
        SizeMismatchError: it is not as long as its body.
    """
    if header is None:
        return
    found = _CHUNK.fullmatch(header.strip())
    if not found or int(found[1]) != offset or int(found[1]) > int(found[2]):
        raise UploadRangeError(offset)
    if content_length is not None and content_length != int(found[2]) - int(found[1]) + 1:
        raise SizeMismatchError("Content-Range does not match Content-Length")


def matches_etag(header: str | None, etag: str) -> bool:
    """Whether an `If-None-Match` names this entity tag (given unquoted).

    Weak and unquoted forms match too: distribution's clients send the bare digest.
    """
    if header is None:
        return False
    candidates = (candidate.strip().removeprefix("W/").strip('"') for candidate in header.split(","))
    return any(candidate in {etag, "*"} for candidate in candidates)
