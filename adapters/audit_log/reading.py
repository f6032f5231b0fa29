"""Reading of an audit file from its end: in blocks, and with a limit on the bytes of one call."""

import errno
import json
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adapters.audit_log.lines import parse_event
from core.ports.audit_log import AuditEvent
from core.ports.audit_trail import TrailPage, TrailQuery

READ_BYTES_MAX: Final = 4 * 1024 * 1024
"""Maximum number of bytes that one call reads, about 10,000 lines."""
BLOCK_BYTES: Final = 64 * 1024
LINE_BYTES_MAX: Final = 256 * 1024
"""A longer line is not one of this log: names and lists of tags are bounded."""
_POSITION: Final = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")
_OLDER: Final = ".1"
"""Suffix of the file that logrotate left at the last rotation."""


@dataclass(slots=True)
class _Budget:
    left: int


def read_recent(path: Path, query: TrailQuery, n: int, before: str) -> TrailPage:
    """Return events of the file at `path`, then of the file before the last rotation.

    Raises:
        OSError: a file cannot be read.
    """
    position = _POSITION.fullmatch(before)
    if before and position is None:
        return TrailPage(events=())
    events: list[AuditEvent] = []
    budget = _Budget(READ_BYTES_MAX)
    is_reached = position is None
    for file in (path, path.with_name(path.name + _OLDER)):
        try:
            descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            continue
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.ESPIPE, "it is not a file")
            end = status.st_size
            if not is_reached and position is not None:
                if str(status.st_ino) != position[1]:
                    continue
                is_reached, end = True, min(end, int(position[2]))
            at = _read(descriptor, end, query, n, events, budget)
        finally:
            os.close(descriptor)
        if at:
            return TrailPage(events=events, following=f"{status.st_ino}-{at}")
    return TrailPage(events=events)


def _read(  # noqa: PLR0917 - parts of one call
    descriptor: int, end: int, query: TrailQuery, n: int, events: list[AuditEvent], budget: _Budget
) -> int:
    """Add events before `end`; return the position before which older lines follow, or 0 at the start of the file."""
    needles = _needles(query)
    at = end
    for at, line in _lines(descriptor, end, budget):
        if len(events) == n:
            return at + len(line)
        if not all(needle in line for needle in needles):
            continue
        event = parse_event(line)
        if event is not None and _selects(query, event):
            events.append(event)
    return at


def _selects(query: TrailQuery, event: AuditEvent) -> bool:
    return (
        query.user in {"", event.actor, event.claimed}
        and (query.repository in {"", event.repository} or event.repository.startswith(f"{query.repository}/"))
        and query.action in {None, event.action}
    )


def _needles(query: TrailQuery) -> Sequence[bytes]:
    """Return texts that each line with a selected event contains, because most lines need not be parsed then."""
    texts = [query.user, query.repository, query.action.value if query.action else ""]
    return [json.dumps(text)[1:-1].encode() for text in texts if text]


def _lines(descriptor: int, end: int, budget: _Budget) -> Iterator[tuple[int, bytes]]:
    """Yield the lines before `end` from the last to the first, each with its position.

    Ends early when the budget is used up; the position of the last line that was yielded shows where.
    """
    tail, is_long = b"", False
    position = end
    while position > 0:
        size = min(BLOCK_BYTES, position)
        if budget.left < size:
            yield position + (0 if is_long else len(tail)), b""
            return
        budget.left -= size
        position -= size
        block = os.pread(descriptor, size, position)
        until = len(block)
        while (newline := block.rfind(b"\n", 0, until)) >= 0:
            yield position + newline + 1, b"" if is_long else block[newline + 1 : until] + tail
            tail, is_long, until = b"", False, newline
        tail = block[:until] + tail
        if len(tail) > LINE_BYTES_MAX:
            tail, is_long = b"", True
    yield 0, b"" if is_long else tail
