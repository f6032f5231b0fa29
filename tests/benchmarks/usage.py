"""The cost of a server: processor time and memory of its process group, read from /proc."""

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

MEMORY_SAMPLE_SECONDS = 0.25
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(group: int) -> float:
    """Processor time of all processes of a group, and of the children they waited for."""
    # utime, stime, cutime and cstime are the fields 14 to 17 of proc(5), counted from 1.
    return sum(sum(map(int, fields[11:15])) for _, fields in _members(group)) / _TICKS


def memory_mib(group: int) -> float:
    """Memory of all processes of a group; shared pages count once (PSS)."""
    kib = 0
    for process, _ in _members(group):
        with suppress(FileNotFoundError, ProcessLookupError):
            rollup = (process / "smaps_rollup").read_text()
            kib += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return kib / 1024


class PeakMemory:
    """The most memory of a server during a block."""

    def __init__(self, group: int) -> None:
        self.mib = 0.0
        self._group = group
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._is_over.wait(MEMORY_SAMPLE_SECONDS):
            self.mib = max(self.mib, memory_mib(self._group))


def _members(group: int) -> Iterator[tuple[Path, list[str]]]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            # The name in parentheses may hold blanks; what follows it does not.
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                yield process, fields
