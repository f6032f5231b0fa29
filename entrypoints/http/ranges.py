"""Byte ranges of blobs (RFC 9110, section 14) and of upload chunks (OCI distribution-spec 1.1, end-5)."""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from core.errors import RangeInvalidError, SizeMismatchError, UploadRangeError

RANGES_MAX: Final = 1024
"""Maximum number of ranges in one request; podman requests at most this many (`maxNumberMissingChunks`)."""
_SINGLE: Final = re.compile(r"\s*([0-9]{0,18})-([0-9]{0,18})\s*", re.ASCII)
_UNIT: Final = re.compile(r"bytes\s*=", re.IGNORECASE)
_CHUNK: Final = re.compile(r"(?:bytes[ =])?\s*([0-9]{1,18})-([0-9]{1,18})(?:/(?:[0-9]+|\*))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Requested range: `start` to `end` inclusive; if `start` is None, the last `end` bytes."""

    start: int | None
    end: int | None

    @property
    def needs_size(self) -> bool:
        """Whether the range depends on the size of the blob: a suffix range, or an unsatisfiable one."""
        return self.start is None or (self.end is not None and self.end < self.start)

    def resolve(self, size: int) -> tuple[int, int]:
        """Return offset and length within `size` bytes.

        Raises:
            RangeInvalidError: the range lies completely outside.
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


_NOTHING: Final = ByteRange(None, None)


def parse_ranges(header: str | None) -> Sequence[ByteRange] | None:
    """Parse a `Range` header; None means that the whole blob is sent.

    Another unit, or more than `RANGES_MAX` ranges, results in the whole blob (RFC 9110, 14.2). A malformed header
    becomes an empty range, which is answered with 416, as in distribution and as the OCI conformance suite expects for
    `500-0`.
    """
    if header is None or not (unit := _UNIT.match(header)):
        return None
    # A list may have empty elements (RFC 9110, 5.6.1.2).
    elements = [element for element in header[unit.end() :].split(",") if element.strip()]
    if len(elements) > RANGES_MAX:
        return None
    ranges = [_parse_range(element) for element in elements]
    return ranges if ranges and _NOTHING not in ranges else [_NOTHING]


def _parse_range(element: str) -> ByteRange:
    found = _SINGLE.fullmatch(element)
    first, last = found.groups() if found else ("", "")
    parsed = ByteRange(int(first) if first else None, int(last) if last else None)
    is_backwards = parsed.start is not None and parsed.end is not None and parsed.end < parsed.start
    return _NOTHING if is_backwards else parsed


def resolve_ranges(ranges: Sequence[ByteRange], size: int) -> Sequence[tuple[int, int]]:
    """Return offset and length of each part of a blob to send, in the order of the request.

    Overlapping or adjacent ranges are merged, so that no byte is sent twice; ranges beyond the end are omitted.

    Raises:
        RangeInvalidError: all ranges lie beyond the end.
    """
    found = []
    for position, wanted in enumerate(ranges):
        with suppress(RangeInvalidError):
            offset, length = wanted.resolve(size)
            found.append((offset, offset + length, position))
    if not found:
        raise RangeInvalidError(size)
    parts: list[tuple[int, int, int]] = []
    for offset, end, position in sorted(found):
        if parts and offset <= parts[-1][1]:
            first, last, earlier = parts.pop()
            parts.append((first, max(last, end), min(earlier, position)))
        else:
            parts.append((offset, end, position))
    return [(offset, end - offset) for offset, end, _ in sorted(parts, key=lambda part: part[2])]


def check_chunk_range(header: str | None, *, offset: int, content_length: int | None) -> None:
    """Check the `Content-Range` of a chunk against the offset of its session.

    Raises:
        UploadRangeError: the range starts at another offset, or is malformed.
        SizeMismatchError: the length of the range differs from that of the body.
    """
    if header is None:
        return
    found = _CHUNK.fullmatch(header.strip())
    if not found or int(found[1]) != offset or int(found[1]) > int(found[2]):
        raise UploadRangeError(offset)
    if content_length is not None and content_length != int(found[2]) - int(found[1]) + 1:
        raise SizeMismatchError("Content-Range does not match Content-Length")


def matches_etag(header: str | None, etag: str) -> bool:
    """Return whether an `If-None-Match` header contains this entity tag (given unquoted).

    Weak and unquoted tags match too: distribution's clients send the bare digest.
    """
    if header is None:
        return False
    candidates = (candidate.strip().removeprefix("W/").strip('"') for candidate in header.split(","))
    return any(candidate in {etag, "*"} for candidate in candidates)
