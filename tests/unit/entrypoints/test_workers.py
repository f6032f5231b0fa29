"""Workers that hang: the parent kills them, without the help of systemd."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from entrypoints.process.workers import PipeReports

CHILD = Path(__file__).with_name("supervisor_child.py")
PATIENCE_SECONDS = 30
FAILING = """
import os, sys
from entrypoints.process.workers import Supervisor

def fail(worker):
    os.write(1, b"%d" % worker.number)
    return 3

sys.exit(Supervisor(fail, 4).run())
"""


@contextmanager
def supervisor(*, watchdog_seconds: float, end_seconds: float) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(CHILD), str(watchdog_seconds), str(end_seconds)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as parent:
        try:
            wait_until(lambda: len(children_of(parent)) == 2)
            yield parent
        finally:
            if parent.returncode is None:
                os.killpg(parent.pid, signal.SIGKILL)


def children_of(parent: subprocess.Popen[str]) -> set[int]:
    return set(map(int, Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()))


def wait_until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < ends, "did not come about"
        time.sleep(0.02)


def test_parent_that_does_not_read_blocks_no_worker() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    reports = PipeReports(writing, beat_seconds=1.0)
    for _ in range(70_000):
        reports.alive()
    assert len(os.read(reading, 100_000)) == 65_536
    os.close(reading)
    os.close(writing)


def test_reason_why_the_first_worker_fails_is_reported_once() -> None:
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", FAILING],
            cwd=CHILD.parents[3], capture_output=True, timeout=PATIENCE_SECONDS, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (3, b"0")


def test_worker_that_hangs_is_killed_and_replaced() -> None:
    with supervisor(watchdog_seconds=3.0, end_seconds=PATIENCE_SECONDS) as parent:
        before = children_of(parent)
        stuck = min(before)
        os.kill(stuck, signal.SIGSTOP)
        wait_until(lambda: stuck not in children_of(parent) and len(children_of(parent)) == 2)
        assert before - {stuck} < children_of(parent)
        parent.terminate()
        _, log = parent.communicate(timeout=PATIENCE_SECONDS)
        assert parent.returncode == 0
        assert log.count("does not respond, killing it") == 1


def test_stop_ends_a_worker_that_hangs() -> None:
    # The other worker needs more than half a second to stop on a loaded machine.
    with supervisor(watchdog_seconds=PATIENCE_SECONDS, end_seconds=5.0) as parent:
        workers = children_of(parent)
        os.kill(min(workers), signal.SIGSTOP)
        parent.terminate()
        _, log = parent.communicate(timeout=PATIENCE_SECONDS)
        assert parent.returncode == 0
        assert log.count("did not stop in time, killing it") == 1
        assert not any(Path(f"/proc/{worker}").exists() for worker in workers)


def test_workers_keep_serving_while_their_parent_hangs() -> None:
    """A machine that sleeps stops all of them; no worker is late on waking."""
    # On a loaded machine a worker may need seconds to continue, which is not the subject here.
    with supervisor(watchdog_seconds=4.0, end_seconds=PATIENCE_SECONDS) as parent:
        before = children_of(parent)
        for process in (parent.pid, *before):
            os.kill(process, signal.SIGSTOP)
        time.sleep(5)
        for process in (parent.pid, *before):
            os.kill(process, signal.SIGCONT)
        time.sleep(1)
        after = children_of(parent)
        parent.terminate()
        _, log = parent.communicate(timeout=PATIENCE_SECONDS)
        assert "killed" not in log
        assert after == before, log
