"""Framing of chunked bodies (RFC 9112, 7.1), followed on the raw bytes for as long as it is plain.

aiohttp's parser decides where a body ends. This module only finds the data within chunks whose size line is a hex
number and nothing else, which is all that clients send. It stops before any other line: an extension, the last chunk
with its trailers, or an error. The bytes that follow are for the parser.
"""

import re
from typing import Final

_LINE_BYTES_MAX: Final = 19
"""Size of the longest plain line, with the end of the line of the data before."""
_FIRST: Final = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n")
_NEXT: Final = re.compile(rb"\r\n([0-9A-Fa-f]{1,15})\r\n")
_FIRST_BEGUN: Final = re.compile(rb"(?:[0-9A-Fa-f]{1,15}\r?)?")
_NEXT_BEGUN: Final = re.compile(rb"\r(?:\n(?:[0-9A-Fa-f]{1,15}\r?)?)?")
_END_OF_DATA: Final = b"\r\n"


class ChunkedFraming:
    """Position in a chunked body; used by one thread at a time."""

    def __init__(self) -> None:
        self.data_bytes = 0
        """Bytes of data passed up to now."""
        self.rest: bytes | None = None
        """The bytes from the first line on that is not plain; None as long as all lines are."""
        self.is_broken = False
        """Whether the data of a chunk is longer than its size, so that nothing after it has a meaning."""
        self._left = 0
        self._begun = b""
        """The part of an unfinished line that was passed."""
        self._line, self._line_begun = _FIRST, _FIRST_BEGUN

    @property
    def is_over(self) -> bool:
        """Whether this object has stopped following the body."""
        return self.rest is not None or self.is_broken

    def follow(self, raw: bytes | memoryview) -> list[tuple[int, int]]:
        """Pass the next raw bytes; return where data begins and ends in them."""
        found, position = [], 0
        while position < len(raw) and not self.is_over:
            if self._left:
                end = min(len(raw), position + self._left)
                found.append((position, end))
                self._left -= end - position
                self.data_bytes += end - position
                position = end
            else:
                position = self._pass_line(raw, position)
        return found

    def _pass_line(self, raw: bytes | memoryview, position: int) -> int:
        """Return the position after the line, or after the part of it that has arrived."""
        known = len(self._begun)
        line = self._begun + bytes(raw[position : position + _LINE_BYTES_MAX - known])
        plain = self._line.match(line)
        if plain is not None and (size := int(plain[1], 16)):
            self._left, self._begun = size, b""
            self._line, self._line_begun = _NEXT, _NEXT_BEGUN
            return position + plain.end() - known
        if plain is None and len(line) < _LINE_BYTES_MAX and self._line_begun.fullmatch(line):
            self._begun = line
            return len(raw)
        self._stop(self._begun + bytes(raw[position:]))
        return len(raw)

    def _stop(self, rest: bytes) -> None:
        if self._line is _FIRST:
            self.rest = rest
        elif rest.startswith(_END_OF_DATA):
            self.rest = rest.removeprefix(_END_OF_DATA)
        else:
            self.is_broken = True
