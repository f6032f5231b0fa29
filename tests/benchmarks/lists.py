"""Lists of a registry with 10,000 repositories, one of which has 10,000 tags: `python -m tests.benchmarks.lists`.

The store is a folder, and the SCS endpoint in memory, whose requests are counted. A cold request is the first one of a
process. Prints Markdown.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from core.model.media_types import OCI_MANIFEST
from tests.benchmarks.report import machine
from tests.benchmarks.usage import cpu_seconds, memory_mib
from tests.benchmarks.wire import Reply, connected, expect
from tests.support.large_stores import LargeObject, tagged_images, write_to_bucket, write_to_folder
from tests.support.object_stores import scs_environment
from tests.support.oci import make_tiny_image
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient
from tests.support.scs_server import FakeScsServer

TAGGED = "bench/tagged"
EXTENSION = "_sohu/registry"
SILENCE_SECONDS = 0.7
IMAGE = make_tiny_image()
ROWS = {
    "1,000 tags by name": f"/v2/{TAGGED}/{EXTENSION}/tags?n=1000",
    "1,000 tags by push": f"/v2/{TAGGED}/{EXTENSION}/tags?n=1000&sort=-pushed",
    "1,000 tags by size": f"/v2/{TAGGED}/{EXTENSION}/tags?n=1000&sort=-size",
    "100 tags by push, filtered": f"/v2/{TAGGED}/{EXTENSION}/tags?n=100&sort=-pushed&filter=v01*&platform=linux/arm64",
    "plain tags/list, 1,000": f"/v2/{TAGGED}/tags/list?n=1000",
    "history of a tag": f"/v2/{TAGGED}/_oci/tag-history/v00042",
    "1,000 repositories by name": f"/v2/{EXTENSION}/repositories?n=1000",
    "100 repositories by push": f"/v2/{EXTENSION}/repositories?n=100&sort=-pushed",
    "100 repositories by size": f"/v2/{EXTENSION}/repositories?n=100&sort=-size",
    "search for a name": f"/v2/{EXTENSION}/search?q=name:app-0042",
    "search for a word, first page": f"/v2/{EXTENSION}/search?q=app-0042",
    "search for a label, first page": f"/v2/{EXTENSION}/search?q=label:team%3Dteam-7",
    "docker search": "/v1/search?q=app-0042&n=25",
    "plain catalog, 1,000": "/v2/_catalog?n=1000",
    "page: overview": "/ui/",
    "page: repositories by size": "/ui/?view=list&sort=-size",
    "page: search": "/ui/_search?q=name:app-0042",
    "page: 100 of the tags": f"/ui/{TAGGED}",
    "page: 100 of the tags by size": f"/ui/{TAGGED}?sort=-size",
    "page: image": f"/ui/{TAGGED}/_tags/v00042",
}


@dataclass(frozen=True)
class Cost:
    """Cost of one request."""

    milliseconds: float
    requests: int
    reply: Reply


class Scs:
    """The SCS endpoint in a thread of this process."""

    def __init__(self) -> None:
        self.server = FakeScsServer(keys={"key": "secret"})
        self._is_open = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()))

    def __enter__(self) -> FakeScsServer:
        self._thread.start()
        self._is_open.wait()
        return self.server

    def __exit__(self, *_error: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    async def _serve(self) -> None:
        async with self.server:
            self._is_open.set()
            await self._end.wait()


class Bench:
    """A registry on one store.

    Args:
        registry: the registry, which is not started.
        scs: the endpoint whose requests are counted, if the store is one.
    """

    def __init__(self, registry: RegistryServer, scs: FakeScsServer | None) -> None:
        self._registry = registry
        self._scs = scs

    def rebuild(self) -> str:
        """Build all summaries, and describe the costs."""
        before, began = self._requests(), time.perf_counter()
        command = [sys.executable, "-m", "entrypoints.cli", "catalog", "rebuild", str(self._registry.config_path)]
        subprocess.run(command, check=True, env=self._registry.environment, stdout=subprocess.DEVNULL)
        return f"{time.perf_counter() - began:.0f} s, {self._requests() - before:,} requests"

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run a new process of the registry."""
        self._registry.start()
        try:
            self._await_silence()
            yield
        finally:
            self._registry.stop()

    def _await_silence(self) -> None:
        """Return when the jobs that follow the start of the registry send no more requests."""
        seen = -1
        while seen != self._requests():
            seen = self._requests()
            time.sleep(SILENCE_SECONDS)

    def get(self, path: str) -> Cost:
        """Send one request."""
        with connected(self._registry.port) as connection:
            before, began = self._requests(), time.perf_counter()
            reply = connection.request("GET", path)
            return Cost((time.perf_counter() - began) * 1000, self._requests() - before, reply)

    def push_image(self, tag: str) -> None:
        """Push an image with its content."""
        RegistryClient(self._registry.host).push(TAGGED, tag, IMAGE)

    def push(self, tag: str) -> Cost:
        """Push the manifest of the image, whose content is stored."""
        with connected(self._registry.port) as connection:
            before, began = self._requests(), time.perf_counter()
            path = f"/v2/{TAGGED}/manifests/{tag}"
            reply = expect(connection.request("PUT", path, IMAGE.manifest.data, content_type=OCI_MANIFEST), 201)
            return Cost((time.perf_counter() - began) * 1000, self._requests() - before, reply)

    def memory(self) -> float:
        """Return the memory of the registry, in MiB."""
        return memory_mib(self._registry.pid)

    def cpu(self) -> float:
        """Return the processor time of the registry so far, in milliseconds."""
        return cpu_seconds(self._registry.pid) * 1000

    def _requests(self) -> int:
        return 0 if self._scs is None else len(self._scs.log)


def main() -> None:
    """Measure the stores that the command line names, and print a table for each."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.lists", description=__doc__)
    parser.add_argument("--stores", nargs="*", choices=("folder", "scs"), default=("folder", "scs"))
    parser.add_argument("--repositories", type=int, default=10_000)
    parser.add_argument("--tags", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=9, help="number of warm requests of each row")
    parser.add_argument("--only", default="", help="only rows whose name contains this")
    parser.add_argument("--folder", help="where to write the files; else the system's temporary folder")
    options = parser.parse_args()
    rows = {name: path for name, path in ROWS.items() if options.only in name}
    print(f"{machine()}, {time.strftime('%F', time.gmtime())}", flush=True)
    for kind in options.stores:
        with tempfile.TemporaryDirectory(prefix="registry-lists-", dir=options.folder) as folder:
            objects = list(_objects(options.repositories, options.tags))
            if kind == "folder":
                write_to_folder(Path(folder) / "storage", objects)
                _measure(kind, Bench(_registry(Path(folder), {}), None), rows, options.rounds)
                continue
            with Scs() as scs:
                write_to_bucket(scs.buckets["images"], objects)
                environment = dict(scs_environment(scs.url))
                _measure(kind, Bench(_registry(Path(folder), environment), scs), rows, options.rounds)


def _objects(repositories: int, tags: int) -> Iterator[LargeObject]:
    yield from tagged_images(TAGGED, (f"v{number:05}" for number in range(tags)))
    names = (f"bench/app-{number:05}" for number in range(repositories - 1))
    yield from chain.from_iterable(
        tagged_images(name, ("v1",), first=tags + number) for number, name in enumerate(names)
    )


def _registry(folder: Path, environment: dict[str, str]) -> RegistryServer:
    config = {"http": {"workers": 1}}
    return RegistryServer(folder / "server", folder / "storage", config=config, environment=environment)


def _measure(kind: str, bench: Bench, rows: dict[str, str], rounds: int) -> None:
    print(f"\n{kind}: without summaries\n")
    _table(bench, rows, rounds=1)
    print(f"\n{kind}: `registry catalog rebuild`: {bench.rebuild()}\n")
    _table(bench, rows, rounds=rounds)
    print()
    with bench.running():
        bench.push_image("first")
        new = [f"new-{number}" for number in range(rounds)]
        for name, tags in (("a new tag", new), ("the same tag", ["first"] * rounds)):
            pushes = [bench.push(tag) for tag in tags]
            milliseconds = statistics.median(push.milliseconds for push in pushes)
            requests = statistics.median(push.requests for push in pushes)
            print(f"{kind}: push of a stored manifest by {name}: {milliseconds:.1f} ms, {requests:.0f} requests")


def _table(bench: Bench, rows: dict[str, str], *, rounds: int) -> None:
    print("| request | cold ms | requests | warm ms | warm CPU ms | requests | items | kB | memory MiB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, path in rows.items():
        with bench.running():
            cold = bench.get(path)
            before = bench.cpu()
            warm = [bench.get(path) for _ in range(rounds)]
            cpu, memory = (bench.cpu() - before) / rounds, bench.memory()
        milliseconds = statistics.median(cost.milliseconds for cost in warm)
        requests = statistics.median(cost.requests for cost in warm)
        reply = warm[-1].reply
        state = _state(reply)
        print(
            f"| {name} | {cold.milliseconds:,.0f} | {cold.requests:,} | {milliseconds:,.1f} | {cpu:,.0f} "
            f"| {requests:,.0f} | {state} | {reply.body_bytes / 1000:,.0f} | {memory:,.0f} |",
            flush=True,
        )


def _state(reply: Reply) -> str:
    if reply.status != 200:
        return f"status {reply.status}"
    if not reply.body.startswith(b"{"):
        return f"{reply.body.count(b'<tr')} rows"
    document = json.loads(reply.body)
    items = max((len(value) for value in document.values() if isinstance(value, list)), default=0)
    return f"{items}, incomplete" if document.get("incomplete") else f"{items}"


if __name__ == "__main__":
    main()
