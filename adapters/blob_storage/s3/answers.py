"""Requests and answers of HTTP/1.1 that fit in memory, and how an answer is read (RFC 9112)."""

import re
from dataclasses import dataclass
from typing import Final

HEAD_BYTES_MAX: Final = 64 * 1024
ERROR_BYTES_MAX: Final = 1024 * 1024
"""Maximum size of the content of an answer that reports an error or a redirect."""
_END_OF_HEAD: Final = b"\r\n\r\n"
_END_OF_LINE: Final = b"\r\n"
_CHUNK_LINE_BYTES_MAX: Final = 1024
_CHUNK_SIZE: Final = re.compile(rb"[0-9A-Fa-f]{1,15}")
_STATUS_LINE: Final = re.compile(r"HTTP/1\.[01] [1-9][0-9]{2}(?: .*)?", re.DOTALL)
_SUCCESS_END: Final = 300
_BODILESS: Final = frozenset({204, 304})


@dataclass(frozen=True, slots=True)
class SmallAnswer:
    """An answer of the store."""

    status: int
    headers: dict[str, str]
    """By name in lower case."""
    content: bytes | None
    """None if the content is longer than the request allowed; `Content-Length` is then in `headers`."""


@dataclass(frozen=True, slots=True)
class SmallRequest:
    """A request, as it is sent."""

    data: bytes
    is_head: bool
    """Whether its answer has no content."""
    bytes_max: int
    """Maximum size of the content of a successful answer."""
    seconds: float
    """Maximum time until the answer is complete."""
    repeats: bool = True
    """Whether the request may be sent twice."""


class AnswerReader:
    """Reads one answer from the bytes of a connection."""

    __slots__ = ("_at", "_chunks", "_data", "_end", "_headers", "_status", "keeps_alive")

    def __init__(self) -> None:
        self._data: bytes | bytearray = b""
        self._at = 0
        """Where the unread bytes begin."""
        self._status = 0
        self._headers: dict[str, str] = {}
        self._end = -1
        """Where the content ends; -1 if the end of the connection or of the chunks marks it."""
        self._chunks: bytearray | None = None
        """The content of the chunks so far."""
        self.keeps_alive = False

    @property
    def has_begun(self) -> bool:
        """Whether any byte has arrived."""
        return bool(self._data)

    def feed(self, data: bytes, request: SmallRequest) -> SmallAnswer | None:
        """Return the answer if it is complete.

        Raises:
            ValueError: the bytes are not HTTP, or exceed a limit.
        """
        self._append(data)
        if not self._status:
            if not self._read_heads():
                return None
            if (answer := self._begin_content(request)) is not None:
                return answer
        bytes_max = self._bytes_max(request)
        if self._chunks is not None:
            return self._read_chunks(self._chunks, bytes_max)
        if self._end < 0 and len(self._data) - self._at > bytes_max:
            raise ValueError("the content is too long")
        return self._answer(self._end) if 0 <= self._end <= len(self._data) else None

    def end(self) -> SmallAnswer | None:
        """Return the answer whose content ends with the connection, or None if another one was under way."""
        return self._answer(len(self._data)) if self._status and self._end < 0 and self._chunks is None else None

    def _bytes_max(self, request: SmallRequest) -> int:
        return request.bytes_max if self._status < _SUCCESS_END else ERROR_BYTES_MAX

    def _append(self, data: bytes) -> None:
        if not self._data:
            # Most answers arrive in one piece.
            self._data = data
            return
        if not isinstance(self._data, bytearray):
            self._data = bytearray(self._data)
        self._data += data

    def _read_heads(self) -> bool:
        """Read the head, and interim answers before it; return whether it is complete."""
        while self._read_head():
            if self._status:
                return True
        return False

    def _read_head(self) -> bool:
        end = self._data.find(_END_OF_HEAD, self._at)
        if end < 0 or end - self._at > HEAD_BYTES_MAX:
            if len(self._data) - self._at > HEAD_BYTES_MAX:
                raise ValueError("the head is too long")
            return False
        first, *lines = self._data[self._at : end].decode("latin-1").split("\r\n")
        self._at = end + len(_END_OF_HEAD)
        status = _status(first)
        # Interim answers precede the answer.
        if status < 200:  # noqa: PLR2004 - RFC 9110, 15.2
            if status == 101:  # noqa: PLR2004 - RFC 9110, 15.2.2
                raise ValueError("the store switches protocols")
            if self._at > HEAD_BYTES_MAX:
                raise ValueError("the interim answers are too long")
            return True
        self._status, self._headers = status, _headers(lines)
        connection = self._headers.get("connection", "").lower()
        self.keeps_alive = "close" not in connection if first[7] == "1" else "keep-alive" in connection
        return True

    def _begin_content(self, request: SmallRequest) -> SmallAnswer | None:
        """Determine where the content ends (RFC 9112, 6.3); return the answer if it needs no more bytes."""
        headers = self._headers
        if request.is_head or self._status in _BODILESS:
            return self._answer(self._at)
        if "transfer-encoding" in headers:
            if headers["transfer-encoding"].lower() != "chunked":
                raise ValueError("unknown transfer encoding")
            self._chunks = bytearray()
        elif (length := headers.get("content-length")) is None:
            self.keeps_alive = False
        else:
            if not (length.isascii() and length.isdigit()):
                raise ValueError("invalid Content-Length")
            if int(length) > self._bytes_max(request):
                if self._status >= _SUCCESS_END:
                    raise ValueError("the content is too long")
                self.keeps_alive = False
                return SmallAnswer(self._status, headers, None)
            self._end = self._at + int(length)
        return None

    def _read_chunks(self, chunks: bytearray, bytes_max: int) -> SmallAnswer | None:
        if len(self._data) > 2 * bytes_max + 2 * HEAD_BYTES_MAX:
            raise ValueError("the lines before the chunks are too long")
        while (end := self._end_of_chunk_line()) >= 0:
            size = _chunk_size(bytes(self._data[self._at : end]))
            if not size:
                return self._read_trailer(end, bytes(chunks))
            if len(chunks) + size > bytes_max:
                raise ValueError("the content is too long")
            start = end + len(_END_OF_LINE)
            after = start + size + len(_END_OF_LINE)
            if len(self._data) < after:
                return None
            if self._data[start + size : after] != _END_OF_LINE:
                raise ValueError("a chunk has another size")
            chunks += self._data[start : start + size]
            self._at = after
        return None

    def _end_of_chunk_line(self) -> int:
        end = self._data.find(_END_OF_LINE, self._at, self._at + _CHUNK_LINE_BYTES_MAX)
        if end < 0 and len(self._data) - self._at >= _CHUNK_LINE_BYTES_MAX:
            raise ValueError("the line before a chunk is too long")
        return end

    def _read_trailer(self, end_of_size: int, content: bytes) -> SmallAnswer | None:
        # Fields may follow the last chunk; they end with an empty line, as a head does.
        end = self._data.find(_END_OF_HEAD, end_of_size)
        if end < 0:
            if len(self._data) - end_of_size > HEAD_BYTES_MAX:
                raise ValueError("the trailer is too long")
            return None
        if len(self._data) > end + len(_END_OF_HEAD):
            self.keeps_alive = False
        return SmallAnswer(self._status, self._headers, content)

    def _answer(self, end: int) -> SmallAnswer:
        if len(self._data) > end:
            # The position of the next answer is not certain.
            self.keeps_alive = False
        return SmallAnswer(self._status, self._headers, bytes(self._data[self._at : end]))


def _status(line: str) -> int:
    if not _STATUS_LINE.fullmatch(line):
        raise ValueError("invalid status line")
    return int(line[9:12])


def _headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError("invalid header field")
        name, value = name.lower(), value.strip()
        if headers.setdefault(name, value) != value:
            if name == "content-length":
                raise ValueError("several values of Content-Length")
            headers[name] += f", {value}"
    return headers


def _chunk_size(line: bytes) -> int:
    digits = line.partition(b";")[0].rstrip()
    if not _CHUNK_SIZE.fullmatch(digits):
        raise ValueError("invalid size of a chunk")
    return int(digits, 16)
