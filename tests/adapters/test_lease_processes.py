"""A lease among real processes on a folder: one is killed, one stands still and goes on."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.caches import until

pytestmark = pytest.mark.e2e

TTL = 1.5
CHILD = Path(__file__).with_name("lease_child.py")


@contextmanager
def holder(root: Path, owner_id: str) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a process that wants the lease; its output goes to a file."""
    with (root / owner_id).open("w") as output:
        child = subprocess.Popen([sys.executable, CHILD, root, owner_id, str(TTL)], stdout=output)
    try:
        yield child
    finally:
        child.kill()
        child.wait(timeout=10)


def moments(root: Path, owner_id: str, word: str = "held") -> list[float]:
    # The last line may not be whole yet.
    lines = (root / owner_id).read_text().split("\n")[:-1]
    return [float(line.split()[1]) for line in lines if line.startswith(word)]


def wait_for(root: Path, owner_ids: str, *, after: float = 0.0) -> str:
    """Return the process that holds the lease, once there is one."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for owner_id in owner_ids:
            if any(moment > after for moment in moments(root, owner_id)):
                return owner_id
        time.sleep(0.02)
    pytest.fail(f"nobody of {owner_ids} holds it")


def test_killed_holder_is_replaced_by_one_process(tmp_path: Path) -> None:
    with ExitStack() as stack:
        children = {owner_id: stack.enter_context(holder(tmp_path, owner_id)) for owner_id in "abc"}
        first = wait_for(tmp_path, "abc")
        time.sleep(TTL)
        children[first].kill()
        wait_for(tmp_path, "abc".replace(first, ""))
        time.sleep(TTL)
        held = sorted((moment, owner_id) for owner_id in "abc" for moment in moments(tmp_path, owner_id))
        # A process that a busy machine suspends loses the lease too, which takes as long.
        pauses = [after[0] - before[0] for before, after in pairwise(held) if before[1] != after[1]]
        assert pauses
        assert min(pauses) > TTL / 2


def test_suspended_process_no_longer_holds_the_lease(tmp_path: Path) -> None:
    with holder(tmp_path, "a") as first:
        wait_for(tmp_path, "a")
        with holder(tmp_path, "b"):
            first.send_signal(signal.SIGSTOP)
            stopped_at = time.monotonic()
            wait_for(tmp_path, "b")
            woken_at = time.monotonic()
            first.send_signal(signal.SIGCONT)
            until(lambda: moments(tmp_path, "a", "lost"))
            lost_at = moments(tmp_path, "a", "lost")[0]
            assert lost_at >= woken_at
            # One line may have been on its way when it was stopped.
            assert [moment for moment in moments(tmp_path, "a") if stopped_at + 0.1 < moment < lost_at] == []
        wait_for(tmp_path, "a", after=woken_at)
