"""`python -m tests.benchmarks.storage_requests`: how many requests to SCS each piece of work costs, as a table.

A server of this registry runs on the strict SCS endpoint and receives the requests of docker. The columns are the
measured number with one worker process and with two, which then receive the requests of a client in turn, the number
that Sohu's fork needs, and the limit that this project sets itself.
"""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.support.object_stores import ScsEndpoint
from tests.support.oci import Image, digest_of, make_image
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient

SWEEP_SECONDS = 1.5
"""Time after which the remains of a finished upload are removed and counted."""
SETTLE_SECONDS = 5
"""Time in which the jobs of a new server begin, whose requests belong to no work."""
REPOSITORY = "team/app"
WORKS: tuple[tuple[str, int | str, int | str], ...] = (
    ("push 3 layers, a config and a manifest", 94, 33),
    ("push them again", 4, 4),
    ("a blob of 32 MiB", 25, 10),
    ("50 more tags", "", ""),
    ("list 51 tags", 1, 1),
    ("pull the image", 4, 4),
    ("delete the manifest with its 51 tags", 210, 20),
    ("the catalog", "", "1 in 1,000"),
)
"""The work, with the number that Sohu's fork needs and the limit that this project sets itself."""


def main() -> None:
    """Do the work once, and print its cost."""
    with tempfile.TemporaryDirectory() as folder:
        one, two = (_counted(Path(folder) / str(workers), workers) for workers in (1, 2))
    print("| work | requests | two processes | Sohu's fork | wanted |\n|---|---|---|---|---|")
    for (work, fork, wanted), count, others in zip(WORKS, one, two, strict=True):
        print(f"| {work} | {count} | {others} | {fork} | {wanted} |")


def _counted(root: Path, workers: int) -> list[int]:
    """Do the work on a server with this number of processes; each request of the client has a connection of its own."""
    image = make_image(1, layer_sizes=(2_000, 3_000, 4_000))
    with ScsEndpoint(root / "scs") as scs:
        environment = {**scs.settings(), "REGISTRY_HTTP_WORKERS": str(workers)}
        with RegistryServer(root / "ours", root / "unused", environment=environment) as server:
            time.sleep(SETTLE_SECONDS)
            return [_count(scs, do) for do in _works(RegistryClient(server.host), image)]


def _works(client: RegistryClient, image: Image) -> Sequence[Callable[[], object]]:
    large = os.urandom(32 * 1024 * 1024)

    def tag_fifty_more() -> None:
        for number in range(50):
            client.push_manifest(REPOSITORY, f"t{number}", image.manifest)

    def pull() -> None:
        client.request("GET", f"/v2/{REPOSITORY}/manifests/v1").expect(200)
        for blob in image.blobs:
            client.request("GET", f"/v2/{REPOSITORY}/blobs/{blob.digest}").expect(307)

    def push_large() -> None:
        location = client.start_upload("team/large").header("Location")
        location = client.append(location, large).expect(202).header("Location")
        client.finish_upload(location, digest_of(large)).expect(201)

    return (
        lambda: _push(client, image),
        lambda: _push(client, image),
        push_large,
        tag_fifty_more,
        lambda: client.tags(REPOSITORY),
        pull,
        lambda: _delete(client, image),
        client.catalog,
    )


def _push(client: RegistryClient, image: Image) -> None:
    for blob in image.blobs:
        if client.request("HEAD", f"/v2/{REPOSITORY}/blobs/{blob.digest}").status == 404:
            location = client.start_upload(REPOSITORY).header("Location")
            location = client.append(location, blob.data).expect(202).header("Location")
            client.finish_upload(location, blob.digest).expect(201)
    client.push_manifest(REPOSITORY, "v1", image.manifest)


def _delete(client: RegistryClient, image: Image) -> None:
    client.request("DELETE", f"/v2/{REPOSITORY}/manifests/{image.digest}").expect(202)


def _count(scs: ScsEndpoint, do: Callable[[], object]) -> int:
    before = len(scs.requests)
    do()
    time.sleep(SWEEP_SECONDS)
    return len(scs.requests) - before


if __name__ == "__main__":
    main()
