"""Pull-through caches side by side: `python -m tests.benchmarks.pull_through`, a table as Markdown.

All caches have the same upstream, whose line carries 50 MiB/s (`limited_upstream`). A cold pull is that of an image
that the cache has never seen; each client reads the manifest by tag and the layers, one after the other, on a
connection of its own. The rounds are interleaved, the figures are medians. Every cache runs with its defaults.
"""

import argparse
import json
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

from tests.benchmarks.content import MIB, LargeBlob
from tests.benchmarks.report import machine
from tests.benchmarks.usage import PeakMemory
from tests.benchmarks.wire import WireError, connected, expect
from tests.benchmarks.workloads import Subject, drop_file, wrk
from tests.support.oci import OCI_MANIFEST
from tests.support.ports import free_port
from tests.support.processes import SERVE_OUR_REGISTRY, RegistryServer, ServerProcess
from tests.support.registry_client import RegistryClient
from tests.support.tools import find_distribution, find_tool

CLIENTS = (1, 16)
IDLE_SECONDS = 0.5


@dataclass
class Cache:
    """A running cache, and the samples of each row of its column."""

    server: ServerProcess
    rows: dict[str, list[float]] = field(default_factory=dict)

    def add(self, row: str, value: float) -> None:
        """Keep a sample."""
        self.rows.setdefault(row, []).append(value)
        print(f"{row}: {value:,.2f}", file=sys.stderr, flush=True)


def main() -> None:
    """Measure and print."""
    options = _parse_arguments()
    starts: dict[str, Callable[[], tuple[str, ...]]] = {
        "ours": lambda: SERVE_OUR_REGISTRY,
        "docker-registry": lambda: (find_tool("docker-registry"), "serve"),
        "distribution": lambda: (options.distribution or find_distribution(), "serve"),
    }
    programs = {name: starts[name]() for name in options.caches}
    folder = Path(tempfile.mkdtemp(prefix="registry-bench-", dir=options.folder))
    try:
        caches = _run(folder, programs, options)
    finally:
        shutil.rmtree(folder)
    line = f"an image of {options.image_mib} MiB, an upstream with {options.rate_mib:.0f} MiB/s"
    print(f"\n{machine()}, median of {options.rounds}, {time.strftime('%F', time.gmtime())}; {line}\n")
    print(_table(caches))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--distribution", default="", help="path of distribution 3 (default: that of make tools)")
    names = ["ours", "docker-registry", "distribution"]
    parser.add_argument(
        "caches", nargs="*", default=names, metavar="CACHE", help=f"which caches (default {' '.join(names)})"
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each row is measured (default 3)")
    parser.add_argument("--seconds", type=float, default=3, help="length of a measurement that counts requests")
    parser.add_argument("--image-mib", type=int, default=64, help="size of the image (default 64)")
    parser.add_argument("--rate-mib", type=float, default=50, help="rate of the upstream in MiB/s (default 50)")
    parser.add_argument("--folder", type=Path, help="where the caches store; a real disk, not a RAM disk")
    return parser.parse_args()


def _run(folder: Path, programs: Mapping[str, tuple[str, ...]], options: argparse.Namespace) -> dict[str, Cache]:
    port = free_port()
    arguments = [str(port), str(options.rate_mib * MIB), str(options.image_mib * MIB)]
    command = [sys.executable, "-m", "tests.benchmarks.limited_upstream", *arguments]
    environment = {"OTEL_TRACES_EXPORTER": "none"}
    caches: dict[str, Cache] = {}
    with ExitStack() as stack:
        upstream = stack.enter_context(ServerProcess(command, port=port, folder=folder / "upstream"))
        config = {"proxy": {"remoteurl": upstream.url}}
        for name, program in programs.items():
            home = folder / name
            server = RegistryServer(home, home / "storage", command=program, config=config, environment=environment)
            caches[name] = Cache(stack.enter_context(server))
        for number in range(options.rounds):
            # Each round begins with another cache, so that no cache always meets a warm or a busy machine.
            names = list(caches)
            shift = number % len(names)
            for name in names[shift:] + names[:shift]:
                print(f"round {number + 1}: {name}", file=sys.stderr)
                _measure(caches[name], upstream, f"bench/{name}-{number}", options)
    return caches


def _measure(cache: Cache, upstream: ServerProcess, name: str, options: argparse.Namespace) -> None:
    control = RegistryClient(upstream.host)
    for clients in CLIENTS:
        repository = f"{name}-{clients}"
        control.request("GET", f"/prepare/{repository}").expect(200)
        before = _bytes_sent(control)
        row = f"cold pull, {clients} client{'s' * (clients > 1)}"
        with PeakMemory(cache.server.pid) as memory:
            seconds = _pull(cache.server.port, repository, clients)
        # A cache may go on to fetch after the last client has its bytes.
        _wait_until_idle(control)
        cache.add(f"{row} | s", seconds)
        cache.add(f"{row} | images sent by the upstream", (_bytes_sent(control) - before) / (options.image_mib * MIB))
        cache.add(f"{row} | most memory (PSS), MiB", memory.mib)
        RegistryClient(cache.server.host).pull(repository, "v1")
    repository = f"{name}-{CLIENTS[-1]}"
    seconds = _pull(cache.server.port, repository, CLIENTS[-1])
    cache.add(f"warm pull, {CLIENTS[-1]} clients | MiB/s", CLIENTS[-1] * options.image_mib / seconds)
    subject = Subject(cache.server, partial(drop_file, Path()), Path(), LargeBlob(b"", ""), options.seconds)
    cache.add("warm manifest by tag | requests/s", wrk(subject, f"/v2/{repository}/manifests/v1").rate)


def _bytes_sent(control: RegistryClient) -> int:
    return int(control.request("GET", "/counters").expect(200).body)


def _wait_until_idle(control: RegistryClient) -> None:
    before = -1
    while (now := _bytes_sent(control)) != before:
        before = now
        time.sleep(IDLE_SECONDS)


def _pull(port: int, repository: str, clients: int) -> float:
    """Pull an image with `clients` at once, and return the seconds until the last one is done."""
    barrier = threading.Barrier(clients + 1)

    def pull(_number: int) -> None:
        with connected(port) as connection:
            barrier.wait()
            reply = connection.request("GET", f"/v2/{repository}/manifests/v1", accept=OCI_MANIFEST)
            document = json.loads(expect(reply, 200).body)
            for descriptor in (document["config"], *document["layers"]):
                target = f"/v2/{repository}/blobs/{descriptor['digest']}"
                reply = expect(connection.request("GET", target, keep_body=False), 200)
                if reply.body_bytes != descriptor["size"]:
                    raise WireError(f"{target}: {reply.body_bytes} bytes instead of {descriptor['size']}")

    with ThreadPoolExecutor(clients) as pool:
        pulls = [pool.submit(pull, number) for number in range(clients)]
        barrier.wait()
        began = time.perf_counter()
        for each in pulls:
            each.result()
        return time.perf_counter() - began


def _table(caches: Mapping[str, Cache]) -> str:
    lines = [f"| work | unit | {' | '.join(caches)} |", "| --- " * (len(caches) + 2) + "|"]
    for row in next(iter(caches.values())).rows:
        values = (f"{median(cache.rows[row]):,.1f}" for cache in caches.values())
        lines.append(f"| {row} | {' | '.join(values)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
