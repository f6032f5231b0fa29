"""How far a job is, on a terminal and in a log."""

import io

import pytest

from entrypoints.progress import Measure, ProgressDisplay, bar, describe
from entrypoints.text import format_bytes, format_seconds

MIB = 1024 * 1024


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(stream, *, quiet=False):
    """Half of 200 MiB in 10 s, reported every 10 ms."""
    now = [0.0]
    display = ProgressDisplay(stream, clock=lambda: now[0], is_quiet=quiet)
    for step in range(1001):
        now[0] = step / 100
        display.show(Measure(done=step * 100 * MIB // 1000, total=200 * MIB), "team/app")
    display.line("something is wrong")
    display.clear()
    return stream.getvalue()


def test_terminal_shows_one_line_that_is_redrawn():
    drawn = shown(Terminal())
    lines = drawn.split("\n")
    assert len(lines) == 2
    assert lines[0].endswith("\r\x1b[Ksomething is wrong")
    assert 40 < drawn.count("\r") < 60
    last = lines[0].split("\r\x1b[K")[-2]
    assert last.startswith("[############............]  ")
    assert "MiB of about 200.0 MiB  10.0 MiB/s  0:1" in last
    assert last.endswith("left  team/app")


def test_log_has_few_lines():
    stream = io.StringIO()
    now = [0.0]
    display = ProgressDisplay(stream, clock=lambda: now[0])
    for step in range(101):
        now[0] = float(step)
        display.show(Measure(done=step, is_bytes=False), "repositories")
    assert stream.getvalue().splitlines() == [
        "30  1/s  repositories",
        "60  1/s  repositories",
        "90  1/s  repositories",
    ]


def test_quiet_job_reports_only_problems():
    assert shown(Terminal(), quiet=True) == "something is wrong\n"


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (MIB, "1.0 MiB"), (5 * 1024**4, "5.0 TiB")],
)
def test_bytes_are_readable(size, text):
    assert format_bytes(size) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (125, "2:05"), (3 * 3600 + 61, "3:01:01")])
def test_seconds_are_readable(seconds, text):
    assert format_seconds(seconds) == text


def test_empty_job_is_complete():
    assert describe(Measure(done=0, total=0), 0.0).startswith("100%")
    assert bar(Measure(done=0, total=0)) == ""
