"""Logs on pipes, sockets and files whose reader takes nothing, or is gone."""

import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from config import log_handler
from config.log_handler import BUFFER_BYTES, DroppingHandler
from config.streams import UnblockedStream

LINE = "x" * 999


def record(text: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("test", logging.INFO, __file__, 1, text, arguments, None)


@contextmanager
def handler_on(descriptor: int) -> Iterator[DroppingHandler]:
    handler = DroppingHandler(UnblockedStream(descriptor), "the log")
    try:
        yield handler
    finally:
        handler.close()


@pytest.fixture(params=["pipe", "socket", "locked pipe"])
def ends(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """The reading and the writing end of a pipe for a log."""
    if request.param == "socket":
        readers, writers = socket.socketpair()
        reading, writing = readers.detach(), writers.detach()
    else:
        reading, writing = os.pipe()
    if request.param == "locked pipe":
        # As for one that another user made, which cannot be opened again.
        monkeypatch.setattr("config.streams._FLAGS", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    os.set_blocking(reading, False)
    yield reading, writing
    for descriptor in (reading, writing):
        os.close(descriptor)


def read_bytes(reading: int) -> bytes:
    content = b""
    try:
        while piece := os.read(reading, 65536):
            content += piece
    except BlockingIOError:
        pass
    return content


def read_all(reading: int) -> list[str]:
    return read_bytes(reading).decode().splitlines()


def test_unread_lines_wait_in_memory_and_keep_their_order(ends: tuple[int, int]) -> None:
    reading, writing = ends
    expected = "".join(f"{number}{LINE}\n" for number in range(900)).encode()
    with handler_on(writing) as handler:
        for number in range(900):
            handler.handle(record("%s%s", number, LINE))
        found = read_bytes(reading)
        assert 0 < len(found) < len(expected)
        while len(found) < len(expected):
            handler.flush()
            found += read_bytes(reading)
        assert found == expected


def test_lines_beyond_the_buffer_are_dropped_counted_and_reported(
    ends: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    reading, writing = ends
    count = 3 * BUFFER_BYTES // len(LINE)
    with handler_on(writing) as handler:
        for _ in range(count):
            handler.handle(record(LINE))
        found = 0
        while not caplog.records:
            found += len(read_all(reading))
            handler.flush()
        [told] = caplog.records
        assert told.message == "the log: lines dropped, its reader is too slow"
        found += len(read_all(reading))
        # A line that was read in two pieces counts twice.
        assert 0 < told.lines <= count - BUFFER_BYTES // (len(LINE) + 1)  # type: ignore[attr-defined]
        assert found + told.lines >= count  # type: ignore[attr-defined]


def test_closed_reader_delays_no_line(caplog: pytest.LogCaptureFixture) -> None:
    reading, writing = os.pipe()
    with handler_on(writing) as handler:
        handler.handle(record("read"))
        os.close(reading)
        for _ in range(10):
            handler.handle(record(LINE))
        handler.flush()
    os.close(writing)
    assert caplog.records == []


def test_file_takes_all_lines(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file, handler_on(file.fileno()) as handler:
        for _ in range(200):
            handler.handle(record(LINE))
    assert (tmp_path / "log").read_text() == f"{LINE}\n" * 200


def test_closed_descriptor_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    with handler_on(writing) as handler:
        handler.handle(record(LINE))


def test_record_that_cannot_be_formatted_is_reported(ends: tuple[int, int]) -> None:
    reading, writing = ends
    with handler_on(writing) as handler:
        handler.handle(record("%d", "no number"))
        handler.handle(record("lone %s", "\udcff"))
    assert read_all(reading) == [
        "log record of test cannot be formatted: TypeError: %d format: a real number is required, not str",
        "lone \\udcff",
    ]


def test_waiting_lines_are_not_repeated_by_a_forked_process(ends: tuple[int, int]) -> None:
    reading, writing = ends
    with handler_on(writing) as handler:
        for _ in range(900):
            handler.handle(record(LINE))
        before = len(read_all(reading))
        child = os.fork()
        if child == 0:
            handler.handle(record("of the child"))
            os._exit(0)
        os.waitpid(child, 0)
        assert read_all(reading)[-1] == "of the child"
        handler.flush()
        assert before
        assert LINE in read_all(reading)


def test_last_lines_wait_briefly_for_space(ends: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    _, writing = ends
    monkeypatch.setattr(log_handler, "_CLOSE_MILLISECONDS", 50)
    with handler_on(writing) as handler:
        for _ in range(900):
            handler.handle(record(LINE))
        begun = time.monotonic()
    assert 0.04 < time.monotonic() - begun < 60
