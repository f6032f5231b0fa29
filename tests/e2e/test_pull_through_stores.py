"""A cache on each kind of store: what it has cached is served after a restart while the upstream is down."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.caches import CacheServer, upstream_section
from tests.support.object_stores import BUCKET, ScsEndpoint, s3_environment
from tests.support.oci import make_artifact, make_image, make_multi_platform_index
from tests.support.registry_client import RegistryClient
from tests.support.s3_servers import versitygw_endpoint
from tests.support.upstream_server import UpstreamServer

pytestmark = pytest.mark.e2e


@pytest.fixture(params=["filesystem", "s3", "scs"])
def store(request: pytest.FixtureRequest, tool: Callable[[str], str], tmp_path: Path) -> Iterator[Mapping[str, str]]:
    """The environment that selects a store."""
    folder = tmp_path / "store"
    folder.mkdir()
    if request.param == "s3":
        with versitygw_endpoint(tool("versitygw"), BUCKET, folder) as url:
            yield s3_environment(url)
    elif request.param == "scs":
        with ScsEndpoint(folder) as endpoint:
            yield endpoint.settings()
    else:
        yield {}


def test_cached_images_outlive_a_restart_in_an_outage(store: Mapping[str, str], tmp_path: Path) -> None:
    index, image = make_multi_platform_index(19), make_image(1950, layer_sizes=(1_000_000,))
    signature = make_artifact(b"signed", artifact_type="application/x-signature", subject=image.manifest)
    with UpstreamServer() as upstream:
        upstream.content.add("library/index", index, "v1")
        upstream.content.add("library/image", image, "v1")
        upstream.content.add("library/image", signature)
        # Each pull asks the upstream.
        proxy = {"upstreams": [upstream_section(upstream, "up.test", recheck="0s")]}
        with CacheServer(tmp_path / "server", tmp_path / "storage", proxy=proxy, environment=store) as cache:
            client = RegistryClient(cache.host)
            cached = {name: client.pull(f"up.test/library/{name}", "v1") for name in ("index", "image")}
            [found] = client.referrers("up.test/library/image", image.digest)
            client.pull("up.test/library/image", found["digest"])
            cache.stop()
            upstream.close()

            cache.start()
            client = RegistryClient(cache.host)
            for name, content in cached.items():
                assert client.pull(f"up.test/library/{name}", "v1") == content
            [found] = client.referrers("up.test/library/image", image.digest)
            assert found["digest"] == signature.digest
            client.pull("up.test/library/image", signature.digest)
            client.request("GET", "/v2/up.test/library/image/manifests/v2").expect(502, 504)
