"""Many clients at once: `python -m tests.benchmarks.crowds [--peers "distribution=PATH zot=PATH"] [--only TEXT]`.

10,000 idle connections beside 200 active ones, ranges of a large blob, 50 clients that pull one image whose files are
not in the page cache, and the waiting times of pulls and pushes while collection, verification and a copy run in ours.
The rounds are interleaved; prints medians as Markdown.
"""

import argparse
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from tests.benchmarks.content import IMAGE, MIB, READ_REPOSITORY, SMALL_BLOB, LargeBlob, forget, prepare
from tests.benchmarks.peers import find_peers
from tests.benchmarks.report import OURS, machine
from tests.benchmarks.usage import cpu_seconds, memory_mib
from tests.benchmarks.wire import Connection, WireError, connected, expect, push_blob
from tests.benchmarks.workloads import Subject, drop_file, wrk
from tests.support.oci import OCI_MANIFEST, digest_of, make_image
from tests.support.processes import RegistryServer

IDLE = 10_000
ACTIVE = 200
SPARE_DESCRIPTORS = 200
RANGE_BYTES = 64 * 1024
LARGE_BYTES = 256 * MIB
HERD = 50
HERD_IMAGE = tuple(16 * MIB for _ in range(4))
HERD_REPOSITORY = "bench/herd"
PUSH_REPOSITORY = "bench/pushed"
PAUSE_SECONDS = 0.004
"""Between two requests of a client whose waiting times are measured."""
STORE_IMAGES = 150
"""Collection, verification and the copy read these, beside the large blobs."""

Samples = dict[str, dict[str, list[float]]]
"""By the row, then by the registry."""


@dataclass(frozen=True)
class Peer:
    """A running registry, its folder, the layers of the image that the herd pulls, and options for its commands."""

    subject: Subject
    storage: Path
    layers: Sequence[str]
    job_options: Sequence[str]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", default="", help="further registries: 'distribution=PATH zot=PATH'")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2, help="length of a measurement that counts requests")
    parser.add_argument("--only", default="", help="only measurements whose name contains this: idle ranges herd jobs")
    parser.add_argument("--keep-priority", action="store_true", help="run the commands of ours with --keep-priority")
    parser.add_argument("--folder", type=Path, help="where the registries store; a real disk, not a RAM disk")
    options = parser.parse_args()
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (IDLE + SPARE_DESCRIPTORS, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    )
    measurements = {name: measure for name, measure in MEASUREMENTS.items() if options.only in name}
    samples: Samples = {}
    with tempfile.TemporaryDirectory(prefix="registry-bench-", dir=options.folder) as name, ExitStack() as stack:
        peers = _start(Path(name), stack, options)
        for number in range(options.rounds):
            for measure in measurements.values():
                # Who goes first changes with the round.
                order = list(peers)[number % len(peers) :] + list(peers)[: number % len(peers)]
                for each in order:
                    os.sync()
                    for row, value in measure(each, peers[each]):
                        samples.setdefault(row, {}).setdefault(each, []).append(value)
                        print(f"round {number + 1}: {row}: {each} {value:,.2f}", file=sys.stderr, flush=True)
    print(f"\n{machine()}, median of {options.rounds}, {time.strftime('%F', time.gmtime())}\n")
    print(_table(list(peers), samples))


def _start(folder: Path, stack: ExitStack, options: argparse.Namespace) -> dict[str, Peer]:
    data = os.urandom(LARGE_BYTES)
    large = LargeBlob(data, digest_of(data))
    herd = [data[start : start + size] for start, size in _offsets(HERD_IMAGE)]
    peers = {}
    for name, start in find_peers(options.peers.split()).items():
        storage = folder / name / "storage"
        server = start(folder / name / "server", storage)
        stack.callback(server.kill)
        server.start()
        prepare(server.port, large, tags=2, repositories=STORE_IMAGES)
        with connected(server.port) as connection:
            for blob in herd:
                push_blob(connection, HERD_REPOSITORY, digest_of(blob), blob)
        subject = Subject(server, partial(drop_file, storage), folder, large, options.seconds)
        job_options = ["--keep-priority"] if options.keep_priority else []
        peers[name] = Peer(subject, storage, [digest_of(blob) for blob in herd], job_options)
    return peers


def _offsets(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    start = 0
    for size in sizes:
        yield start, size
        start += size


def idle_beside_active(_name: str, peer: Peer) -> Iterator[tuple[str, float]]:
    """Memory of an idle connection, and how long 200 active ones wait beside 10,000 of them."""
    server = peer.subject.server
    path = f"/v2/{READ_REPOSITORY}/manifests/v1"
    # The memory that the connections of the round before left would be used again.
    server.stop()
    server.start()
    # Caches and buffers are there before the first figure.
    wrk(peer.subject, path, connections=ACTIVE)
    before = memory_mib(server.pid)
    with ExitStack() as stack:
        connections = [stack.enter_context(_idle_connection(server.port)) for _ in range(IDLE)]
        yield f"memory of an idle connection, of {IDLE:,}, KiB", (memory_mib(server.pid) - before) * 1024 / IDLE
        sample = wrk(peer.subject, path, connections=ACTIVE)
        yield f"manifests over {ACTIVE} connections beside {IDLE:,} idle ones, requests/s", sample.rate
        yield f"{ACTIVE} connections beside {IDLE:,} idle ones, CPU ms each", sample.cpu_ms
        yield f"{ACTIVE} connections beside {IDLE:,} idle ones, p99 ms", sample.latencies_ms["p99"]
        # A server that had closed idle connections would not have kept their memory.
        for connection in connections[:: IDLE // 100]:
            _ask(connection)


@contextmanager
def _idle_connection(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        _ask(connection)
        yield connection


def _ask(connection: socket.socket) -> None:
    connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    if not connection.recv(65_536).startswith(b"HTTP/1.1 200"):
        raise WireError("an idle connection was closed or refused")


def ranges(_name: str, peer: Peer) -> Iterator[tuple[str, float]]:
    """Parts of 64 KiB at random places of a blob of 256 MiB."""
    script = peer.subject.scratch / "ranges.lua"
    script.write_text(
        f"""
        request = function()
          local first = math.random(0, {LARGE_BYTES // RANGE_BYTES - 1}) * {RANGE_BYTES}
          return wrk.format("GET", nil, {{["Range"] = "bytes=" .. first .. "-" .. first + {RANGE_BYTES - 1}}})
        end
        """
    )
    path = f"/v2/{READ_REPOSITORY}/blobs/{peer.subject.large.digest}"
    sample = wrk(peer.subject, path, script=script)
    yield "64 KiB ranges of a blob of 256 MiB, requests/s", sample.rate
    yield "64 KiB ranges, CPU ms each", sample.cpu_ms
    yield "64 KiB ranges, p99 ms", sample.latencies_ms["p99"]


def cold_herd(_name: str, peer: Peer) -> Iterator[tuple[str, float]]:
    """50 clients pull an image of four layers of 16 MiB at once, and no file of the store is in the page cache."""
    server = peer.subject.server
    for file in peer.storage.rglob("*"):
        if file.is_file():
            forget(file)
    cpu = cpu_seconds(server.pid)
    began = time.perf_counter()
    with ThreadPoolExecutor(HERD) as pool:
        list(pool.map(lambda _: _pull(server.port, peer.layers), range(HERD)))
    yield f"cold image of 64 MiB, pulled by {HERD} clients at once, s", time.perf_counter() - began
    yield "server CPU for these, s", cpu_seconds(server.pid) - cpu


def _pull(port: int, layers: Sequence[str]) -> None:
    with connected(port) as connection:
        expect(connection.request("GET", f"/v2/{READ_REPOSITORY}/manifests/v1", accept=OCI_MANIFEST), 200)
        for digest in layers:
            expect(connection.request("GET", f"/v2/{HERD_REPOSITORY}/blobs/{digest}", keep_body=False), 200)


def beside_jobs(name: str, peer: Peer) -> Iterator[tuple[str, float]]:
    """How long pulls and pushes of one client each wait, at rest and while the jobs of ours run."""
    port, seconds = peer.subject.server.port, 2 * peer.subject.seconds
    # A process of its own: the client waits for the interpreter when this process starts a command.
    with ProcessPoolExecutor(1, mp_context=get_context("forkserver")) as client:
        for kind, act in (("pull", _pull_small), ("push", _push_small)):
            yield f"{kind} of a small image, p99 ms", client.submit(_p99, port, seconds, act).result()
            if name == OURS:
                with _jobs(peer) as running:
                    waited = client.submit(_p99, port, seconds, act).result()
                    running()
                yield f"{kind} of a small image while collection, verification and a copy run, p99 ms", waited


def _p99(port: int, seconds: float, act: Callable[[Connection, int], None]) -> float:
    waits: list[float] = []
    seed = int.from_bytes(os.urandom(6))
    deadline = time.monotonic() + seconds
    with connected(port) as connection:
        while time.monotonic() < deadline:
            began = time.perf_counter()
            act(connection, seed + len(waits))
            waits.append((time.perf_counter() - began) * 1_000)
            time.sleep(PAUSE_SECONDS)
    return statistics.quantiles(waits, n=100)[98]


def _pull_small(connection: Connection, _seed: int) -> None:
    expect(connection.request("GET", f"/v2/{READ_REPOSITORY}/manifests/v1", accept=OCI_MANIFEST), 200)
    for digest in (SMALL_BLOB.digest, *(blob.digest for blob in IMAGE.blobs)):
        expect(connection.request("GET", f"/v2/{READ_REPOSITORY}/blobs/{digest}"), 200)


def _push_small(connection: Connection, seed: int) -> None:
    image = make_image(seed, layer_sizes=(500,))
    for blob in image.blobs:
        push_blob(connection, PUSH_REPOSITORY, blob.digest, blob.data)
    target = f"/v2/{PUSH_REPOSITORY}/manifests/v{seed % 50}"
    expect(connection.request("PUT", target, image.manifest.data, content_type=OCI_MANIFEST), 201)


@contextmanager
def _jobs(peer: Peer) -> Iterator[Callable[[], None]]:
    """Run the three commands again and again; the yielded function raises if one of them failed."""
    server = peer.subject.server
    if not isinstance(server, RegistryServer):
        raise TypeError("only ours has these commands")
    # The copies stay until the end: a file system works slowly for a while after many deletions.
    copies = Path(tempfile.mkdtemp(prefix="copies-", dir=server.folder))
    target = RegistryServer(copies, copies / "storage")
    config = str(server.config_path)
    over = threading.Event()
    ended: list[int] = []

    def run(*words: str, empties: bool = False) -> None:
        while not over.is_set():
            if empties:
                target.storage.rename(copies / f"copy-{len(ended)}")
                target.storage.mkdir()
            ended.extend(_run_until(over, [*words, *peer.job_options]))

    def check() -> None:
        if any(ended):
            raise WireError(f"exit codes of the jobs: {ended}")

    with ThreadPoolExecutor(3) as pool:
        running = [
            pool.submit(run, "garbage-collect", "--quiet", config),
            pool.submit(run, "verify", "--restart", "--quiet", config),
            pool.submit(run, "copy", "--quiet", "--from", config, "--to", str(target.config_path), empties=True),
        ]
        # The commands import their modules before they begin.
        time.sleep(1)
        try:
            yield check
        finally:
            over.set()
        for each in running:
            each.result()


def _run_until(over: threading.Event, words: Sequence[str]) -> list[int]:
    """Run a command of ours; return its exit code, or nothing if it was ended because the measurement is over."""
    command = [sys.executable, "-m", "entrypoints.cli", *words]
    # A session of its own, as cron, systemd and `docker exec` give it.
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        while process.poll() is None:
            if over.wait(0.05):
                process.terminate()
                process.wait()
                return []
        return [process.returncode]


MEASUREMENTS = {"idle": idle_beside_active, "ranges": ranges, "herd": cold_herd, "jobs": beside_jobs}


def _table(peers: Sequence[str], samples: Samples) -> str:
    lines = [f"| work | {' | '.join(peers)} |", f"|{' --- |' * (len(peers) + 1)}"]
    for row, taken in samples.items():
        cells = [_cell(statistics.median(taken[peer])) if peer in taken else "" for peer in peers]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.2f}"


if __name__ == "__main__":
    main()
