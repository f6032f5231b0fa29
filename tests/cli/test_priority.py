"""Commands that work on a whole store let servers on the same machine go first."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from entrypoints.cli import main
from entrypoints.priority import COMMANDS
from tests.cli.conftest import WriteConfig
from tests.support.reference_pages import commands_page

_PROGRAM = """
import os, sys
from pathlib import Path
from entrypoints.cli import main

def of_session():
    group = Path("/proc/self/autogroup")
    return ((group.read_text() if group.exists() else "").split() or ["none"])[-1]

def of_process():
    return os.getpriority(os.PRIO_PROCESS, 0), ",".join(map(str, sorted(os.sched_getaffinity(0))))

class Finder:
    def find_spec(name, path=None, target=None):
        global at_import
        if name == "entrypoints.command_line":
            at_import = of_process()[1]

sys.meta_path.insert(0, Finder)
sys.argv[0] = "registry"
session = of_session()
try:
    main()
finally:
    print(at_import, *of_process(), session, of_session())
"""
_THREADS = """
import os, sys, threading
from entrypoints.cli import main

def note(*_):
    processors = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    seen.add(f"{os.getpriority(os.PRIO_PROCESS, 0)} {processors}")

seen = set()
# Called in each new thread, not in the first one; on Linux, both calls in `note` are about the thread that makes them.
threading.setprofile(note)
sys.argv[0] = "registry"
code = main()
print(*seen, sep=" and ")
sys.exit(code)
"""
LONG_COMMANDS = [
    ["garbage-collect", "FILE"],
    ["verify", "FILE"],
    ["copy", "--from", "FILE", "--to", "FILE"],
    ["export", "team/app", "-o", "layout", "FILE"],
    ["import", "layout", "FILE"],
    ["usage", "FILE"],
    ["catalog", "rebuild", "FILE"],
]


class Behaviour(NamedTuple):
    """Priority and processors of the process of a command. A session has none where the kernel does not count it."""

    at_import: str
    """The processors with which it imported its modules."""
    niceness: int
    processors: str
    session_before: str
    session: str


def behaviour(words: Sequence[str], folder: Path, *, has_session: bool = True) -> Behaviour:
    """Run a command without a configuration."""
    words = [word.replace("FILE", str(folder / "missing.yml")) for word in words]
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *words],
        start_new_session=has_session,
        capture_output=True,
        check=True,
        text=True,
    )
    assert "cannot be read" in done.stderr
    at_import, niceness, processors, before, after = done.stdout.split()[-5:]
    return Behaviour(at_import, int(niceness), processors, before, after)


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)


def all_processors() -> str:
    return ",".join(map(str, sorted(os.sched_getaffinity(0))))


def all_but_one() -> str:
    """All processors but the first; the only one of a machine with one."""
    return all_processors().partition(",")[2] or all_processors()


@pytest.mark.parametrize("words", LONG_COMMANDS, ids=" ".join)
def test_long_command_leaves_a_processor_and_has_the_lowest_priority(words: list[str], tmp_path: Path) -> None:
    seen = behaviour(words, tmp_path)
    assert (seen.at_import, seen.niceness, seen.processors) == (all_but_one(), 19, all_but_one())


@pytest.mark.parametrize("words", [["-c", "FILE", "verify"], ["--config=FILE", "catalog", "rebuild"]], ids=" ".join)
def test_file_may_precede_a_long_command(words: list[str], tmp_path: Path) -> None:
    seen = behaviour(words, tmp_path)
    assert (seen.at_import, seen.niceness) == (all_but_one(), 19)


@pytest.mark.parametrize(
    "words",
    [
        ["verify", "FILE", "--keep-priority"],
        ["-c", "FILE", "usage", "--keep-priority"],
        ["serve", "FILE"],
        ["-c", "FILE"],
        ["copy of FILE"],
        ["tags", "verify", "-c", "FILE"],
        ["trash", "list", "FILE"],
    ],
    ids=" ".join,
)
def test_other_command_keeps_its_priority_and_processors(words: list[str], tmp_path: Path) -> None:
    seen = behaviour(words, tmp_path)
    assert (seen.at_import, seen.niceness, seen.processors) == (all_processors(), niceness(), all_processors())
    assert seen.session == seen.session_before


def test_commands_that_leave_a_processor_are_those_with_the_option() -> None:
    usage = r"^`registry ((?:[a-z-]+ )+?)(?=[\[A-Z-]).*\[--keep-priority\]"
    assert sorted(COMMANDS) == sorted(map(str.strip, re.findall(usage, commands_page(), re.MULTILINE)))


def test_threads_of_a_long_command_go_behind_servers(write_config: WriteConfig, tmp_path: Path) -> None:
    (tmp_path / "data/docker/registry/v2/repositories").mkdir(parents=True)
    words = ["verify", "--json", str(write_config())]
    done = subprocess.run(
        [sys.executable, "-c", _THREADS, *words, "--json"], capture_output=True, check=True, text=True
    )
    assert done.stdout.splitlines()[-1:] == [f"19 {all_but_one()}"]


def test_session_of_a_long_command_goes_last_too(tmp_path: Path) -> None:
    """Linux divides processor time between sessions first; a kernel that does not has no group to change."""
    seen = behaviour(["verify", "FILE"], tmp_path)
    assert seen.session == ("none" if seen.session_before == "none" else "19")
    seen = behaviour(["verify", "FILE"], tmp_path, has_session=False)
    assert seen.session == seen.session_before


def test_command_in_a_process_of_another_program_keeps_its_priority(tmp_path: Path) -> None:
    before = niceness(), os.sched_getaffinity(0)
    assert main(["verify", str(tmp_path / "missing.yml")]) == 1
    assert (niceness(), os.sched_getaffinity(0)) == before
