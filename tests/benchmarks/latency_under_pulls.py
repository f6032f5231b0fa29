"""How long others wait while large blobs leave: `python -m tests.benchmarks.latency_under_pulls [NAME=PROGRAM …]`.

Ours (one worker, so that all share an event loop, and the default), Debian's docker-registry and further builds of
distribution serve one folder. curl pulls a blob of 256 MiB repeatedly, from memory or from the disk; at the same time a
list of tags is asked for every few milliseconds on another connection. Prints how long it took, as Markdown.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.benchmarks.content import IMAGE, LARGE_BYTES, forget
from tests.benchmarks.wire import connected, expect, push_blob, scratch_file
from tests.support.oci import OCI_MANIFEST, digest_of
from tests.support.processes import RegistryServer
from tests.support.tools import find_tool

SECONDS = 4.0
EVERY_SECONDS = 0.004
REPOSITORY = "bench/latency"


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="registry-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        storage = folder / "storage"
        digest = _fill(folder, storage)
        servers = {
            "ours, one worker": RegistryServer(folder / "one", storage, environment={"REGISTRY_HTTP_WORKERS": "1"}),
            "ours": RegistryServer(folder / "ours", storage),
        }
        programs = {"docker-registry": find_tool("docker-registry")}
        programs |= {name: path for name, _, path in (entry.partition("=") for entry in sys.argv[1:])}
        for each, program in programs.items():
            environment = {"OTEL_TRACES_EXPORTER": "none"}
            servers[each] = RegistryServer(folder / each, storage, command=(program, "serve"), environment=environment)
        for server in servers.values():
            stack.enter_context(server)
        print("| pulls | registry | p50 ms | p99 ms | longest ms |\n|---|---|---|---|---|")
        for pulls, is_cold in ((0, False), (1, False), (1, True), (4, False)):
            for each, server in servers.items():
                with _pulled(server, storage, digest, pulls, is_cold=is_cold):
                    waits = _wait_times(server.port)
                quantiles = statistics.quantiles(waits, n=100)
                what = f"{pulls} from the disk" if is_cold else f"{pulls}"
                print(f"| {what} | {each} | {quantiles[49]:.1f} | {quantiles[98]:.1f} | {max(waits):.0f} |", flush=True)


def _fill(folder: Path, storage: Path) -> str:
    data = os.urandom(LARGE_BYTES)
    digest = digest_of(data)
    with RegistryServer(folder / "filling", storage) as filling, connected(filling.port) as connection:
        push_blob(connection, REPOSITORY, digest, scratch_file(folder, data))
        for blob in IMAGE.blobs:
            push_blob(connection, REPOSITORY, blob.digest, blob.data)
        target = f"/v2/{REPOSITORY}/manifests/v1"
        expect(connection.request("PUT", target, IMAGE.manifest.data, content_type=OCI_MANIFEST), 201)
    return digest


@contextmanager
def _pulled(server: RegistryServer, storage: Path, digest: str, pulls: int, *, is_cold: bool) -> Iterator[None]:
    over = threading.Event()
    url = f"{server.url}/v2/{REPOSITORY}/blobs/{digest}"
    encoded = digest.partition(":")[2]
    file = storage / "docker/registry/v2/blobs/sha256" / encoded[:2] / encoded / "data"

    def pull() -> None:
        while not over.is_set():
            if is_cold:
                forget(file)
            subprocess.run(["curl", "-sf", "-o", "/dev/null", url], check=True)

    threads = [threading.Thread(target=pull) for _ in range(pulls)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _wait_times(port: int) -> list[float]:
    waits = []
    deadline = time.monotonic() + SECONDS
    with connected(port) as connection:
        while time.monotonic() < deadline:
            began = time.perf_counter()
            expect(connection.request("GET", f"/v2/{REPOSITORY}/tags/list"), 200)
            waits.append((time.perf_counter() - began) * 1_000)
            time.sleep(EVERY_SECONDS)
    return waits


if __name__ == "__main__":
    main()
