"""The priority of commands that work on a whole store beside servers.

Such a command uses all the processor time that it gets. At equal priority, requests of servers on the same machine wait
for it, twice as long as without it (docs/performance.md, "Crowds"). At the lowest priority, the command gets all of an
idle processor, and a seventieth of a busy one. The idle policy of the kernel would give it a fifth of that or less, and
a collection on a busy machine might never end.
"""

import os
from argparse import ArgumentParser, Namespace
from contextlib import suppress
from pathlib import Path
from typing import Final

_NICENESS: Final = 19
_AUTOGROUP: Final = Path("/proc/self/autogroup")


def add_priority_option(parser: ArgumentParser) -> None:
    """Add `--keep-priority` to a command whose process `apply_priority` shall put behind servers."""
    parser.add_argument(
        "--keep-priority",
        action="store_true",
        help="keep the priority of the process; by default, servers and other programs on this machine go first",
    )


def apply_priority(arguments: Namespace) -> None:
    """Give this process the lowest priority, if its command has `--keep-priority` and it was not given.

    Call this before the process starts threads, which inherit the priority.
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
