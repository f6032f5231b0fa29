"""`make bench`: ours and other registries side by side, the rounds interleaved, medians of them in a table."""

import argparse
import os
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tests.benchmarks.content import LARGE_BYTES, LargeBlob, prepare
from tests.benchmarks.peers import StartPeer, find_peers
from tests.benchmarks.report import cost_table, idle_table, machine, picture, rate_table
from tests.benchmarks.usage import memory_mib
from tests.benchmarks.workloads import PUSHES, WORKLOADS, Sample, Subject, Workload, drop_file
from tests.support.oci import digest_of
from tests.support.processes import ServerProcess
from tests.support.tools import ToolMissingError, find_tool

SETTLE_SECONDS = 2
MEMORY_FOLDER = "/dev/shm"  # noqa: S108 - mkdtemp makes a folder of our own in it


def main() -> int:
    """Run the benchmarks that the command line names, and print the tables as Markdown."""
    options = _parse_arguments()
    try:
        find_tool("wrk")
        peers = find_peers(options.peers.split())
    except ToolMissingError as missing:
        print(f"bench: {missing}", file=sys.stderr)
        return 1
    if shutil.disk_usage(MEMORY_FOLDER).free < LARGE_BYTES * (PUSHES + 1):
        print(
            f"bench: {MEMORY_FOLDER} has no room for {PUSHES} large blobs",
            file=sys.stderr,
        )
        return 1
    workloads = [workload for workload in WORKLOADS if options.only in workload.name]
    folder = Path(tempfile.mkdtemp(prefix="registry-bench-", dir=options.folder))
    scratch = Path(tempfile.mkdtemp(prefix="registry-bench-", dir=MEMORY_FOLDER))
    try:
        _run(folder, scratch, peers, workloads, options)
    finally:
        shutil.rmtree(folder)
        shutil.rmtree(scratch)
    return 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--peers", default="", help="further registries: 'distribution zot=/path/to/zot'")
    parser.add_argument("--rounds", type=int, default=3, help="how often each row is measured (default 3)")
    parser.add_argument("--seconds", type=float, default=3, help="length of a measurement that counts requests")
    parser.add_argument("--only", default="", help="only rows whose name contains this")
    parser.add_argument("--picture", type=Path, help="where to draw the table as SVG")
    parser.add_argument("--folder", type=Path, help="where the registries store; a real disk, not a RAM disk")
    return parser.parse_args()


def _run(
    folder: Path,
    scratch: Path,
    peers: dict[str, StartPeer],
    workloads: list[Workload],
    options: argparse.Namespace,
) -> None:
    data = os.urandom(LARGE_BYTES)
    large = LargeBlob(data, digest_of(data))
    names = list(peers)
    samples: dict[str, dict[str, list[Sample]]] = {row.name: {name: [] for name in names} for row in workloads}
    memory: dict[str, float] = {}
    start_ms: dict[str, float] = {}
    with ExitStack() as stack:
        subjects: dict[str, Subject] = {}
        for name, start in peers.items():
            _say(f"{name}: filling")
            home = folder / name
            server = start(home / "server", home / "storage")
            stack.callback(server.kill)
            start_ms[name], memory[name] = _fill_and_restart(server, large)
            subjects[name] = Subject(server, partial(drop_file, home / "storage"), scratch, large, options.seconds)
        for number in range(options.rounds):
            for row in workloads:
                _measure_row(row, subjects, samples, number)
    print(f"\n{machine()}, median of {options.rounds}, {time.strftime('%F', time.gmtime())}\n")
    print(rate_table(workloads, names, samples), cost_table(workloads, names, samples), sep="\n\n")
    print(f"\n{idle_table(names, memory, start_ms)}")
    if options.picture:
        options.picture.write_text(picture(workloads, names, samples))


def _fill_and_restart(server: ServerProcess, large: LargeBlob) -> tuple[float, float]:
    """Fill a registry, start it again, and return how long that took in ms and its memory at rest in MiB."""
    server.start()
    prepare(server.port, large)
    server.stop()
    began = time.perf_counter()
    server.start()
    start_ms = (time.perf_counter() - began) * 1_000
    time.sleep(SETTLE_SECONDS)
    return start_ms, memory_mib(server.pid)


def _measure_row(
    row: Workload, subjects: dict[str, Subject], samples: dict[str, dict[str, list[Sample]]], number: int
) -> None:
    # Who goes first changes with the round, so that no registry always meets a warm or a busy machine.
    names = list(subjects)
    shift = number % len(names)
    for name in names[shift:] + names[:shift]:
        # Flush the writes of the previous registry, so that they do not count here.
        os.sync()
        sample = row.measure(subjects[name])
        samples[row.name][name].append(sample)
        _say(f"round {number + 1}: {row.name}: {name} {sample.rate:,.0f} {row.unit}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
