"""The priority of commands that work on a whole store beside servers.

Such a command uses all the processor time that it gets. At equal priority, requests of servers on the same machine wait
for it, twice as long as without it (docs/performance.md, "Crowds"). At the lowest priority, the command gets all of an
idle processor, and a seventieth of a busy one.

The kernel lets every waiting thread run now and then, for 4 ms or more, whatever its priority. While commands use all
processors, a request meets such moments wherever it runs. So a command leaves one processor to others.

The idle policy of the kernel saves requests little more, and gives a command a fifth of the seventieth or less. A push
waits for a collection that is about to remove what the push needs (ADR 7): a command must be able to go on.
"""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from entrypoints.words import count_options

_NICENESS: Final = 19
_AUTOGROUP: Final = Path("/proc/self/autogroup")
_OPTION: Final = "--keep-priority"
COMMANDS: Final = ("garbage-collect", "verify", "copy", "export", "import", "usage", "catalog rebuild")
"""The commands that have the option."""


def add_priority_option(parser: ArgumentParser) -> None:
    """Add `--keep-priority` to a command whose process `apply_priority` shall put behind servers."""
    parser.add_argument(
        _OPTION,
        action="store_true",
        help="keep the priority and all processors of the process; by default, servers and other programs on this "
        "machine go first",
    )


def leave_processor(words: Sequence[str]) -> None:
    """Leave one processor to other programs, if this command line asks for that and the process has more than one.

    Call this before the process imports the modules of its command, which takes a third of a second of processor time,
    and before it starts threads, which inherit the processors.
    """
    command = list(words[count_options(words) :])
    if _OPTION in words or not any(command[: len(each)] == each for each in map(str.split, COMMANDS)):
        return
    processors = os.sched_getaffinity(0)
    if len(processors) > 1:
        # All commands leave the same one. A sandbox may forbid this; the command then works on all.
        with suppress(OSError):
            os.sched_setaffinity(0, processors - {min(processors)})


def apply_priority(arguments: Namespace) -> None:
    """Give this process the lowest priority, if its command has `--keep-priority` and it was not given.

    Call this before the process starts threads, which inherit the priority, and after it imported its modules: on a
    busy machine, the import would take up to seventy times as long.
    """
    if getattr(arguments, "keep_priority", True):
        return
    # A sandbox may forbid both; the command then works at its old priority.
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
    # Outside of containers, Linux first divides processor time between sessions, and the niceness counts only within
    # one. A command of cron, systemd or `docker exec` has a session of its own; that of a terminal has other programs.
    if os.getsid(0) == os.getpid():
        with suppress(OSError):
            _AUTOGROUP.write_text(str(_NICENESS), encoding="ascii")
