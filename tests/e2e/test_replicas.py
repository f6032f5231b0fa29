"""Several processes of ours behind nginx on one store, a folder or a bucket of SCS, act as one registry."""

import random
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.object_stores import ScsEndpoint
from tests.support.oci import contents_of, digest_of, make_image
from tests.support.processes import RegistryServer, RoundRobinProxy
from tests.support.registry_client import RegistryClient

pytestmark = pytest.mark.e2e

REPLICAS = 3


@dataclass(frozen=True)
class Cluster:
    """Replicas on one store, and a client that reaches each of them in turn."""

    replicas: list[RegistryServer]
    client: RegistryClient
    environment: Mapping[str, str]
    storage: Path


@pytest.fixture(scope="module", params=["folder", "scs"])
def shared_cluster(
    request: pytest.FixtureRequest, tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    tool("nginx")
    folder = tmp_path_factory.mktemp("cluster")
    storage = folder / "storage"
    with ExitStack() as stack:
        environment: Mapping[str, str] = {}
        if request.param == "scs":
            environment = stack.enter_context(ScsEndpoint(folder / "scs")).settings()
        replicas = [
            stack.enter_context(RegistryServer(folder / f"replica-{number}", storage, environment=environment))
            for number in range(REPLICAS)
        ]
        proxy = stack.enter_context(RoundRobinProxy(folder / "proxy", replicas))
        yield Cluster(replicas, RegistryClient(proxy.host), environment, storage)


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Cluster:
    """Running replicas; tests may end them, and each uses repositories of its own."""
    for replica in shared_cluster.replicas:
        if not replica.answers():
            replica.start()
    return shared_cluster


def test_chunked_upload_crosses_replicas(cluster: Cluster) -> None:
    blob = random.Random(1).randbytes(700_000)
    location = cluster.client.start_upload("crossing").header("Location")
    for start in range(0, 600_000, 100_000):
        piece = blob[start : start + 100_000]
        content_range = {"Content-Range": f"{start}-{start + len(piece) - 1}"}
        location = cluster.client.append(location, piece, headers=content_range).expect(202).header("Location")
    cluster.client.finish_upload(location, digest_of(blob), blob[600_000:]).expect(201)

    for replica in cluster.replicas:
        assert RegistryClient(replica.host).get_blob("crossing", digest_of(blob)) == blob


def test_stale_location_is_answered_with_the_true_offset(cluster: Cluster) -> None:
    location = cluster.client.start_upload("stale").header("Location")
    cluster.client.append(location, b"0123456789").expect(202)

    refused = cluster.client.append(location, b"again", headers={"Content-Range": "0-4"}).expect(416)

    assert refused.header("Range") == "0-9"


def test_every_image_arrives_when_a_replica_dies(cluster: Cluster) -> None:
    images = [make_image(1_000 + number, layer_sizes=(300_000,)) for number in range(12)]

    def push(number: int) -> None:
        for _ in range(5):
            try:
                cluster.client.push(f"dying/image-{number}", "v1", images[number])
            except (OSError, AssertionError):
                # The replica that had this request died; a client pushes again, as docker does.
                continue
            return
        pytest.fail(f"image {number} did not arrive in five tries")

    with ThreadPoolExecutor(4) as pool:
        pushes = [pool.submit(push, number) for number in range(len(images))]
        pushes[1].result()
        cluster.replicas[0].kill()
        for done in pushes:
            done.result()

    survivor = RegistryClient(cluster.replicas[1].host)
    for number, image in enumerate(images):
        pulled = survivor.pull(f"dying/image-{number}", "v1")
        assert pulled.keys() == {content.digest for content in contents_of(image)}


def test_replica_with_another_secret_refuses_the_upload(cluster: Cluster, tmp_path: Path) -> None:
    location = cluster.client.start_upload("secrets").header("Location")
    config = {"http": {"secret": "another secret of one replica"}}
    with RegistryServer(
        tmp_path / "stranger", cluster.storage, config=config, environment=cluster.environment
    ) as stranger:
        refused = RegistryClient(stranger.host).append(location, b"bytes").expect(404)

    assert b"BLOB_UPLOAD_INVALID" in refused.body
