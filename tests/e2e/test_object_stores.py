"""Images in SCS and in a real S3 server, with real clients and beside Debian's docker-registry."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import Skopeo
from tests.support.object_stores import BUCKET, ScsEndpoint, s3_environment
from tests.support.oci import Image, make_image, write_layout
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient
from tests.support.s3_servers import versitygw_endpoint

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def scs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScsEndpoint]:
    with ScsEndpoint(tmp_path_factory.mktemp("scs")) as endpoint:
        yield endpoint


@pytest.fixture
def s3(tool: Callable[[str], str], tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "s3"
    folder.mkdir()
    with versitygw_endpoint(tool("versitygw"), BUCKET, folder) as url:
        yield url


def ours(tmp_path: Path, environment: Mapping[str, str]) -> RegistryServer:
    return RegistryServer(tmp_path / "ours", tmp_path / "unused", environment=environment)


def push_and_pull_with_skopeo(tool: Callable[[str], str], tmp_path: Path, server: RegistryServer, image: Image) -> None:
    tool(Skopeo.program)
    layout = tmp_path / "layout"
    write_layout(layout, image, "v1")
    skopeo = Skopeo(tmp_path / "home", server.host)
    skopeo.push(layout, "v1", "team/app:v1")
    assert Skopeo(tmp_path / "other-home", server.host).pull("team/app:v1")


def test_skopeo_pushes_to_scs_and_pulls_from_it(tool: Callable[[str], str], scs: ScsEndpoint, tmp_path: Path) -> None:
    with ours(tmp_path, scs.settings()) as server:
        push_and_pull_with_skopeo(tool, tmp_path, server, make_image(500, layer_sizes=(200_000, 3_000)))
        # The layers were fetched from the store itself.
        assert any(line for line in scs.requests if "GET /images/docker/registry/v2/blobs/" in line)


def test_image_in_scs_outlives_the_server(tmp_path: Path) -> None:
    image = make_image(501)
    with ScsEndpoint(tmp_path / "scs") as scs, ours(tmp_path, scs.settings()) as server:
        client = RegistryClient(server.host)
        for tag in ("1", "10", "1.2"):
            client.push("team/app", tag, image)
        client.request("DELETE", "/v2/team/app/manifests/1").expect(202)
        server.kill()
        server.start()
        assert client.tags("team/app") == ["1.2", "10"]
        assert image.digest in client.pull("team/app", "10")
        assert client.catalog() == ["team/app"]


def test_store_that_fails_one_request_in_seven_loses_nothing(tmp_path: Path) -> None:
    images = [make_image(510 + number) for number in range(6)]
    with (
        ScsEndpoint(tmp_path / "scs", fault_rate=1 / 7, seed=7) as scs,
        # A client that the store fails itself would have to try again itself.
        ours(tmp_path, scs.settings(redirects=False)) as server,
    ):
        client = RegistryClient(server.host)
        for number, image in enumerate(images):
            client.push("team/app", f"v{number}", image)
        for number, image in enumerate(images):
            assert image.digest in client.pull("team/app", f"v{number}")


def test_skopeo_pushes_to_s3_and_pulls_from_it(tool: Callable[[str], str], s3: str, tmp_path: Path) -> None:
    with ours(tmp_path, s3_environment(s3)) as server:
        push_and_pull_with_skopeo(tool, tmp_path, server, make_image(502, layer_sizes=(200_000, 3_000)))


def test_reference_and_ours_read_each_other_in_s3(tool: Callable[[str], str], s3: str, tmp_path: Path) -> None:
    command = (tool("docker-registry"), "serve")
    environment = s3_environment(s3)
    with (
        ours(tmp_path, environment) as server,
        RegistryServer(
            tmp_path / "reference", tmp_path / "unused", command=command, environment=environment
        ) as reference,
    ):
        clients = [RegistryClient(server.host), RegistryClient(reference.host)]
        for number, (writer, reader) in enumerate([clients, clients[::-1]]):
            image, deleted = make_image(520 + number), make_image(530 + number)
            repository = f"team/app{number}"
            writer.push(repository, "kept", image)
            writer.push(repository, "deleted", deleted)
            assert image.digest in reader.pull(repository, "kept")
            reader.request("DELETE", f"/v2/{repository}/manifests/{deleted.digest}").expect(202)
            assert writer.tags(repository) == ["kept"]
            assert image.digest in writer.pull(repository, "kept")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"bucket": "nobodys"}, "bucket"),
        ({"secretkey": "wrong"}, "key"),
        ({"region": "mars", "endpoint": ""}, "gzctc-internal"),
        ({"accesskey": ""}, "REGISTRY_STORAGE_SCS_ACCESSKEY"),
    ],
    ids=["bucket", "secret", "region", "missing"],
)
def test_wrong_settings_stop_the_start(scs: ScsEndpoint, tmp_path: Path, wrong: dict[str, Any], told: str) -> None:
    server = ours(tmp_path, scs.settings(**wrong))
    server.launch()
    assert server.wait() != 0
    assert told in server.log()
    assert "Traceback" not in server.log()
