"""Minutes of pushes, pulls and deletes by real clients while garbage is collected without a pause.

    python -m tests.benchmarks.collection_soak --storage scs --seconds 300

Prints the operations, every error of a client, and the collected content; exits with 1 if there was an error.
"""

import argparse
import json
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.clients import CommandError, CommandLineClient, Crane, Skopeo
from tests.support.collection_soak import COLLECTING, Soak
from tests.support.object_stores import BUCKET, ScsEndpoint, s3_environment
from tests.support.oci import make_image, write_layout
from tests.support.processes import RegistryServer
from tests.support.s3_servers import versitygw_endpoint
from tests.support.tools import ToolMissingError, find_tool


def main() -> int:
    """Run the soak that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--storage", choices=["folder", "scs", "s3"], default="folder")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as name, ExitStack() as stack:
        folder = Path(name)
        environment = {**stack.enter_context(_storage(arguments.storage, folder)), **COLLECTING}
        environment["REGISTRY_LOG"] = "{level: info, formatter: json}"
        servers = [
            stack.enter_context(RegistryServer(folder / which, folder / "storage", environment=environment))
            for which in ("one", "two")
        ]
        programs = list(_programs(folder, servers))
        soak = Soak([server.host for server in servers], seed=arguments.seed, programs=programs)
        report = soak.run(seconds=arguments.seconds, clients=arguments.clients)
        collected = _collected(servers)
    sys.stdout.write(
        f"{arguments.storage}: {arguments.seconds:.0f} s, {arguments.clients} clients, two replicas, "
        f"{len(programs)} programs\nclients: {dict(report.done)}\ncollected: {dict(collected)}\n"
        f"errors: {len(report.errors)}\n"
    )
    sys.stdout.writelines(f"{error}\n" for error in report.errors)
    return 1 if report.errors else 0


@contextmanager
def _storage(kind: str, folder: Path) -> Iterator[Mapping[str, str]]:
    if kind == "scs":
        with ScsEndpoint(folder / "scs") as endpoint:
            yield endpoint.settings(redirects=False)
    elif kind == "s3":
        (folder / "s3").mkdir()
        with versitygw_endpoint(find_tool("versitygw"), BUCKET, folder / "s3") as url:
            yield s3_environment(url)
    else:
        yield {}


def _programs(folder: Path, servers: Sequence[RegistryServer]) -> Iterator[Callable[[str, str], None]]:
    image = make_image(77, layer_sizes=(20_000, 30_000))
    write_layout(folder / "layout", image, "v1")
    for kind in (Crane, Skopeo):
        try:
            find_tool(kind.program)
        except ToolMissingError as error:
            sys.stderr.write(f"without {kind.program}: {error}\n")
            continue
        yield _push_and_pull(kind(folder / kind.program, servers[0].host), folder / "layout")


def _push_and_pull(client: CommandLineClient, layout: Path) -> Callable[[str, str], None]:
    lock = threading.Lock()

    def act(repository: str, tag: str) -> None:
        # One at a time: they share a home.
        with lock:
            try:
                client.push(layout, "v1", f"{repository}:{tag}")
                client.pull(f"{repository}:{tag}")
            except CommandError as error:
                raise AssertionError(str(error)) from error

    return act


def _collected(servers: Sequence[RegistryServer]) -> Counter[str]:
    found: Counter[str] = Counter()
    for server in servers:
        for line in server.log().splitlines():
            if '"garbage collected"' not in line:
                continue
            entry = json.loads(line)
            found["runs"] += 1
            for name in ("manifests_removed", "layer_links_removed", "blobs_removed", "bytes_removed", "spared"):
                found[name] += int(entry.get(name, 0))
    return found


if __name__ == "__main__":
    sys.exit(main())
