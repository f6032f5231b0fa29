"""Middlewares of the storage: real clients pull through a CDN, and distribution names the same URLs."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from typing_extensions import override

from adapters.blob_storage.s3 import S3Options
from adapters.redirection.base_url import BaseUrlRedirector
from adapters.redirection.cloudfront import CloudFrontRedirector
from core.model.digest import Digest
from core.model.events import UNNAMED
from core.store import layout
from tests.support.clients import CommandLineClient, Crane, Skopeo
from tests.support.cloudfront import KEY_PAIR_ID, FakeCloudFront, fake_cloudfront, require_signed, write_key
from tests.support.daemons import Docker, DockerDaemon
from tests.support.object_stores import BUCKET, s3_environment
from tests.support.oci import make_image
from tests.support.processes import SERVE_OUR_REGISTRY, RegistryServer
from tests.support.registry_client import RegistryClient
from tests.support.s3_servers import moto_endpoint
from tests.support.tools import find_distribution

pytestmark = pytest.mark.e2e

IMAGE = make_image(700, layer_sizes=(200_000, 3_000))


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    with moto_endpoint(BUCKET) as url:
        yield url


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("middleware")


@pytest.fixture(scope="module")
def key(folder: Path) -> RSAPrivateKey:
    return write_key(folder / "key.pem")


@pytest.fixture(scope="module")
def cdn(key: RSAPrivateKey, store: str) -> Iterator[FakeCloudFront]:
    with fake_cloudfront(key.public_key(), store, BUCKET) as server:
        yield server


class QuietFiles(SimpleHTTPRequestHandler):
    @override
    def log_message(self, *_: object) -> None:
        """Print nothing."""


def cloudfront(cdn: FakeCloudFront, folder: Path) -> dict[str, Any]:
    options = {"baseurl": cdn.url, "privatekey": str(folder / "key.pem"), "keypairid": KEY_PAIR_ID, "duration": "10m"}
    return {"name": "cloudfront", "options": options}


def with_middlewares(*middlewares: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"middleware": {"storage": middlewares}}


@pytest.fixture(scope="module")
def server(store: str, cdn: FakeCloudFront, folder: Path) -> Iterator[RegistryServer]:
    config = with_middlewares(cloudfront(cdn, folder))
    with RegistryServer(folder / "ours", folder / "unused", config=config, environment=s3_environment(store)) as ours:
        RegistryClient(ours.host).push("team/app", "v1", IMAGE)
        yield ours


@pytest.fixture
def docker(dockerd: DockerDaemon, server: RegistryServer, tmp_path: Path) -> Docker:
    return Docker(tmp_path / "docker", server.host, dockerd)


def location_of(server: RegistryServer, method: str = "GET") -> str:
    path = f"/v2/team/app/blobs/{IMAGE.blobs[0].digest}"
    return RegistryClient(server.host).request(method, path).expect(307).header("Location")


def pulled_through(cdn: FakeCloudFront) -> set[str]:
    assert cdn.refusals == []
    return {path.split("/")[-2] for path in cdn.served}


@pytest.mark.parametrize("client", [Crane, Skopeo])
def test_command_line_clients_pull_through_cloudfront(
    new_client: Callable[[type[CommandLineClient]], CommandLineClient],
    cdn: FakeCloudFront,
    client: type[CommandLineClient],
) -> None:
    cdn.served.clear()
    assert new_client(client).pull("team/app:v1") == IMAGE.blobs[0].digest
    assert pulled_through(cdn) == {blob.digest.partition(":")[2] for blob in IMAGE.blobs}


def test_docker_pulls_through_cloudfront(docker: Docker, cdn: FakeCloudFront) -> None:
    cdn.served.clear()
    docker.pull("team/app:v1")
    assert {blob.digest.partition(":")[2] for blob in IMAGE.blobs} <= pulled_through(cdn)


def test_only_get_of_a_blob_is_redirected(server: RegistryServer) -> None:
    client, digest = RegistryClient(server.host), IMAGE.blobs[0].digest
    head = client.request("HEAD", f"/v2/team/app/blobs/{digest}").expect(200)
    assert head.header("Content-Length") == str(len(IMAGE.blobs[0].data))
    client.request("GET", "/v2/team/app/manifests/v1").expect(200)
    client.request("GET", f"/v2/other/blobs/{digest}").expect(404)
    assert location_of(server).endswith(f"&Key-Pair-Id={KEY_PAIR_ID}")


@pytest.fixture
def list_of_networks(tmp_path: Path) -> Iterator[str]:
    """Serve a list with one network of AWS; yield its URL."""
    networks = {"prefixes": [{"ip_prefix": "192.0.2.0/24", "region": "us-east-1", "service": "EC2"}]}
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "ip-ranges.json").write_text(json.dumps(networks))
    handler = partial(QuietFiles, directory=str(tmp_path / "www"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/ip-ranges.json"
        server.shutdown()
        thread.join()


def test_address_of_the_client_decides_between_cloudfront_and_the_store(
    store: str, cdn: FakeCloudFront, folder: Path, tmp_path: Path, list_of_networks: str
) -> None:
    middleware = cloudfront(cdn, folder)
    middleware["options"] |= {"ipfilteredby": "awsregion", "awsregion": "us-east-1", "iprangesurl": list_of_networks}
    config = {**with_middlewares(middleware), "http": {"trustedproxies": ["127.0.0.1"], "workers": 1}}
    environment = s3_environment(store)
    with RegistryServer(tmp_path / "ours", tmp_path / "unused", config=config, environment=environment) as server:
        client = RegistryClient(server.host)
        client.push("team/app", "v1", IMAGE)

        def location(address: str) -> str:
            path = f"/v2/team/app/blobs/{IMAGE.blobs[0].digest}"
            answer = client.request("GET", path, headers={"X-Forwarded-For": address})
            return answer.expect(307).header("Location")

        # Until the list is loaded, all clients get URLs of CloudFront.
        for _ in range(300):
            if location("192.0.2.7").startswith(store):
                break
            time.sleep(0.1)
        assert location("192.0.2.7").startswith(f"{store}/{BUCKET}/")
        assert location("198.51.100.7").startswith(cdn.url)


async def test_distribution_names_the_same_url(
    store: str, cdn: FakeCloudFront, folder: Path, server: RegistryServer, key: RSAPrivateKey
) -> None:
    """Signatures are deterministic: with the time of distribution's signature, ours is the same to the byte."""
    reference = RegistryServer(
        folder / "reference",
        folder / "unused",
        command=(find_distribution(), "serve"),
        config=with_middlewares(cloudfront(cdn, folder)),
        environment=s3_environment(store),
    )
    with reference:
        theirs = location_of(reference)
    expires = int(theirs.partition("Expires=")[2].partition("&")[0])
    require_signed(theirs, key.public_key(), now=expires - 1)
    redirector = CloudFrontRedirector(
        BaseUrlRedirector("http://unused"),
        base_url=f"{cdn.url}/",
        store_key=S3Options(bucket=BUCKET).store_key,
        key_pair_id=KEY_PAIR_ID,
        private_key=str(folder / "key.pem"),
        validity_seconds=600,
        now=lambda: expires - 600,
    )
    async with redirector:
        assert await redirector.url(layout.blob_data(Digest(IMAGE.blobs[0].digest)), by=UNNAMED) == theirs
    assert location_of(server).partition("?")[0] == theirs.partition("?")[0]


def test_redirect_leads_to_the_base_url_on_any_driver(folder: Path) -> None:
    config = with_middlewares({"name": "redirect", "options": {"baseurl": "https://cdn.example.com/images"}})
    locations: list[str] = []
    for command in (SERVE_OUR_REGISTRY, (find_distribution(), "serve")):
        place = folder / f"redirecting-{len(locations)}"
        with RegistryServer(place, folder / "files", command=command, config=config) as server:
            if not locations:
                RegistryClient(server.host).push("team/app", "v1", IMAGE)
            locations.append(location_of(server))
    hex_digest = IMAGE.blobs[0].digest.partition(":")[2]
    path = f"/images/docker/registry/v2/blobs/sha256/{hex_digest[:2]}/{hex_digest}/data"
    assert locations == [f"https://cdn.example.com{path}"] * 2


def test_wrong_key_file_stops_the_start(store: str, cdn: FakeCloudFront, folder: Path, tmp_path: Path) -> None:
    wrong = cloudfront(cdn, folder)
    wrong["options"]["privatekey"] = str(tmp_path / "none.pem")
    server = RegistryServer(
        tmp_path / "ours", tmp_path / "unused", config=with_middlewares(wrong), environment=s3_environment(store)
    )
    server.launch()
    assert server.wait() == 1
    assert f"the private key of CloudFront {tmp_path / 'none.pem'}: No such file or directory" in server.log()
    assert "Traceback" not in server.log()
