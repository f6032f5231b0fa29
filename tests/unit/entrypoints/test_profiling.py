"""Profiles and stacks: of the event loop while it works, and of one that is stuck."""

import asyncio
import marshal
import os
import signal
import subprocess
import sys

import pytest

from entrypoints.observability.profiling import Profiler, ProfilerBusyError, as_pstats, as_text
from entrypoints.observability.stacks import STACK_SIGNAL, answering_signal, dump_stacks, dump_stuck
from tests.support.tools import REPOSITORY_ROOT

SECRET = "hunter2"


async def busy_handler(secret, until):
    while not until.is_set():
        sum(range(2000))
        await asyncio.sleep(0)
    return secret


@pytest.fixture
async def busy():
    """A task that works, and holds a secret."""
    until = asyncio.Event()
    task = asyncio.create_task(busy_handler(SECRET, until), name="busy")
    yield task
    until.set()
    await task


async def test_profile_names_what_the_event_loop_does(busy):
    profile = await Profiler().profile(0.1)
    text = as_text(profile)
    assert "busy_handler" in text
    assert SECRET not in text
    functions = {key[2] for key in marshal.loads(as_pstats(profile))}  # noqa: S302 - our own
    assert "busy_handler" in functions


async def test_one_profile_is_taken_at_a_time(busy):
    profiler = Profiler()
    first = asyncio.create_task(profiler.profile(0.1))
    await asyncio.sleep(0)
    with pytest.raises(ProfilerBusyError):
        await profiler.profile(0.1)
    await first
    assert "busy_handler" in as_text(await profiler.profile(0.05))


async def test_cancelled_profile_measures_no_longer():
    profiler = Profiler()
    task = asyncio.create_task(profiler.profile(60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sys.getprofile() is None
    # Since Python 3.12, a profiler that still measures refuses another one.
    assert as_text(await profiler.profile(0.01))


async def test_stacks_show_where_tasks_wait_and_no_value(busy):
    text = dump_stacks()
    assert "task busy: busy_handler" in text
    assert "asyncio.sleep(0)" in text
    assert "thread MainThread" in text
    assert SECRET not in text


STUCK = """
import asyncio, sys, time
from pathlib import Path
from entrypoints.observability.stacks import answering_signal

def blocks_the_loop():
    time.sleep(60)

async def main():
    server = await asyncio.start_unix_server(lambda *_: None, sys.argv[1])
    print("listening", flush=True)
    blocks_the_loop()

with answering_signal(Path(sys.argv[2])):
    asyncio.run(main())
"""


def test_stacks_of_a_stuck_event_loop_are_shown(tmp_path):
    path, file = tmp_path / "w.sock", tmp_path / "stacks"
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK, str(path), str(file)], cwd=REPOSITORY_ROOT, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"listening\n"
        # The first may come before it is stuck.
        texts = [dump_stuck(path, file) for _ in range(3)]
        assert all(f"process {process.pid}" in text for text in texts)
        assert [text.count("in blocks_the_loop") for text in texts[1:]] == [1, 1]
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate(timeout=60)


def test_dead_worker_gets_no_signal(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        dump_stuck(tmp_path / "w.sock", tmp_path / "stacks")


def test_late_signal_ends_no_process(tmp_path):
    before = signal.getsignal(STACK_SIGNAL)
    try:
        with answering_signal(tmp_path / "stacks"):
            os.kill(os.getpid(), STACK_SIGNAL)
        os.kill(os.getpid(), STACK_SIGNAL)
        assert (tmp_path / "stacks").read_text().count("test_late_signal_ends_no_process") == 1
    finally:
        signal.signal(STACK_SIGNAL, before)
