"""Commands that work on a whole store let servers on the same machine go first."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from entrypoints.cli import main

_PROGRAM = """
import os, sys
from pathlib import Path
from entrypoints.cli import main

def of_session():
    group = Path("/proc/self/autogroup")
    return ((group.read_text() if group.exists() else "").split() or ["none"])[-1]

sys.argv[0] = "registry"
before = of_session()
try:
    main()
finally:
    print(os.getpriority(os.PRIO_PROCESS, 0), before, of_session())
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


def priorities(words: Sequence[str], folder: Path, *, has_session: bool = True) -> tuple[int, str, str]:
    """Run a command without a configuration.

    Returns:
        The niceness of its process afterwards, and that of its session before and afterwards. A session has none where
        the kernel does not divide processor time between sessions.
    """
    words = [word.replace("FILE", str(folder / "missing.yml")) for word in words]
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *words],
        start_new_session=has_session,
        capture_output=True,
        check=True,
        text=True,
    )
    assert "cannot be read" in done.stderr
    niceness, before, after = done.stdout.split()[-3:]
    return int(niceness), before, after


@pytest.mark.parametrize("words", LONG_COMMANDS, ids=" ".join)
def test_long_command_has_the_lowest_priority(words: list[str], tmp_path: Path) -> None:
    assert priorities(words, tmp_path)[0] == 19


def test_long_command_may_keep_its_priority(tmp_path: Path) -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    assert priorities(["verify", "FILE", "--keep-priority"], tmp_path)[0] == before


@pytest.mark.parametrize("words", [["serve", "FILE"], ["tags", "team/app", "-c", "FILE"]], ids=" ".join)
def test_other_command_keeps_its_priority(words: list[str], tmp_path: Path) -> None:
    assert priorities(words, tmp_path)[0] == os.getpriority(os.PRIO_PROCESS, 0)


def test_session_of_a_long_command_goes_last_too(tmp_path: Path) -> None:
    """Linux divides processor time between sessions first; a kernel that does not has no group to change."""
    _, before, after = priorities(["verify", "FILE"], tmp_path)
    assert after == ("none" if before == "none" else "19")
    _, before, after = priorities(["verify", "FILE"], tmp_path, has_session=False)
    assert after == before


def test_command_in_a_process_of_another_program_keeps_its_priority(tmp_path: Path) -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    assert main(["verify", str(tmp_path / "missing.yml")]) == 1
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
