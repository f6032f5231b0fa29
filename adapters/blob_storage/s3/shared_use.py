"""How much memory the uploads of all processes of a server take: a table in memory that the processes share."""

import mmap
from typing import Final

_PROCESSES_MAX: Final = 4096
_NUMBER_BYTES: Final = 8


class SharedUse:
    """One number for each process, created before the processes fork.

    Each process writes its own number only. Two processes may read the others' at the same moment and take memory both;
    then together they take a part more than they should.
    """

    def __init__(self) -> None:
        # Anonymous shared memory: it exists as long as one of the processes.
        self._numbers = memoryview(mmap.mmap(-1, _PROCESSES_MAX * _NUMBER_BYTES)).cast("q")
        self._own = 0
        self.processes = 1
        """Number of the server's processes."""

    def enter(self, number: int, processes: int) -> None:
        """Take the place of this process in the table, in which a process that was killed may have left a number."""
        self._own = number % _PROCESSES_MAX
        self.processes = min(processes, _PROCESSES_MAX)
        self._numbers[self._own] = 0

    def publish(self, count: int) -> None:
        """Set the number of this process."""
        self._numbers[self._own] = count

    def others(self) -> int:
        """Return the sum over the other processes."""
        if self.processes == 1:
            return 0
        return sum(self._numbers[: self.processes]) - self._numbers[self._own]
