"""The snippets of `docs/proxies.md` work as they stand there."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.clients import Skopeo
from tests.support.oci import digest_of, make_image, write_layout
from tests.support.processes import RegistryServer
from tests.support.proxies import DOCUMENTED, DocumentedProxy
from tests.support.registry_client import RegistryClient

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("kind", DOCUMENTED, ids=lambda kind: kind.program)
def test_documented_proxy_carries_pushes_and_pulls(
    kind: type[DocumentedProxy], tool: Callable[[str], str], tmp_path: Path
) -> None:
    tool(kind.program)
    tool("skopeo")
    pair = Authority(tmp_path).issue("proxy")
    image = make_image(1, layer_sizes=(10_000, 5_000_000))
    layout = write_layout(tmp_path / "layout", image, "v1")
    config = {"http": {"trustedproxies": ["127.0.0.1"]}}
    with (
        RegistryServer(tmp_path / "server", tmp_path / "storage", config=config) as server,
        kind(tmp_path / "proxy", server.host, pair) as proxy,
    ):
        Skopeo(tmp_path / "pusher", proxy.host).push(layout, "v1", "proxied/image:v1")
        assert Skopeo(tmp_path / "puller", proxy.host).pull("proxied/image:v1") == image.blobs[0].digest

        client = RegistryClient(proxy.host, context=pair.trusting_context())
        # The headers of a client do not reach links.
        claims = {"X-Forwarded-Proto": "http"}
        location = client.request("POST", "/v2/a/blobs/uploads/", headers=claims).expect(202).header("Location")
        assert location.startswith(f"https://{proxy.host}/v2/a/blobs/uploads/")
        client.finish_upload(location, digest_of(b"x"), b"x").expect(201)
