"""The registry behind nginx with TLS in front, at a Unix socket, and at IPv6."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.certificates import Authority, Pair
from tests.support.clients import Podman, Skopeo
from tests.support.oci import digest_of, make_image, write_layout
from tests.support.ports import free_port
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient
from tests.support.tls_servers import TlsProxy, UnixRegistryServer

pytestmark = pytest.mark.e2e


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Authority(tmp_path).issue("proxy")


def push_and_pull(kind, host: str, tmp_path: Path) -> None:
    image = make_image(1, layer_sizes=(10_000, 3_000_000))
    layout = write_layout(tmp_path / "layout", image, "v1")
    name = f"proxied/{kind.program}:v1"
    kind(tmp_path / "pusher", host).push(layout, "v1", name)
    assert kind(tmp_path / "puller", host).pull(name) == image.blobs[0].digest


@pytest.mark.parametrize("trusted", [None, ["127.0.0.0/8"]], ids=["everybody", "named"])
def test_clients_push_and_pull_through_a_tls_proxy(trusted, tool, pair, tmp_path) -> None:
    tool("nginx")
    config = {"http": {"trustedproxies": trusted}} if trusted else {}
    with (
        RegistryServer(tmp_path / "server", tmp_path / "storage", config=config) as server,
        TlsProxy(tmp_path / "proxy", server.url, pair) as proxy,
    ):
        for kind in (Skopeo, Podman):
            tool(kind.program)
            push_and_pull(kind, proxy.host, tmp_path / kind.program)


def test_links_keep_scheme_port_and_prefix_of_the_proxy(tool, pair, tmp_path) -> None:
    tool("nginx")
    config = {"http": {"prefix": "/images/", "trustedproxies": ["127.0.0.1"]}}
    with (
        RegistryServer(tmp_path / "server", tmp_path / "storage", config=config) as server,
        TlsProxy(tmp_path / "proxy", server.url, pair, location="/images/") as proxy,
    ):
        client = RegistryClient(proxy.host, context=pair.trusting_context())
        location = client.request("POST", "/images/v2/a/blobs/uploads/").expect(202).header("Location")
        parts = urlsplit(location)
        assert (parts.scheme, parts.netloc) == ("https", proxy.host)
        assert parts.path.startswith("/images/v2/a/blobs/uploads/")
        blob = b"through the proxy" * 1000
        location = client.append(location, blob).expect(202).header("Location")
        created = client.finish_upload(location, digest_of(blob)).expect(201).header("Location")
        assert created == f"https://{proxy.host}/images/v2/a/blobs/{digest_of(blob)}"
        assert client.request("GET", created).expect(200).body == blob


def test_proxy_that_is_not_configured_is_not_trusted(tool, pair, tmp_path) -> None:
    tool("nginx")
    config = {"http": {"trustedproxies": ["192.0.2.1"]}}
    with (
        RegistryServer(tmp_path / "server", tmp_path / "storage", config=config) as server,
        TlsProxy(tmp_path / "proxy", server.url, pair) as proxy,
    ):
        client = RegistryClient(proxy.host, context=pair.trusting_context())
        assert client.start_upload("a").header("Location").startswith(f"http://{proxy.host}/")


def test_unix_socket_serves_a_proxy(tool, pair, tmp_path) -> None:
    tool("skopeo")
    tool("nginx")
    path = tmp_path / "s"
    with UnixRegistryServer(tmp_path / "server", tmp_path / "storage", path) as server:
        with TlsProxy(tmp_path / "proxy", f"http://unix:{path}:", pair) as proxy:
            push_and_pull(Skopeo, proxy.host, tmp_path)
        server.kill()
        assert path.is_socket()
        server.start()
        assert server.stop() == 0
    assert not path.exists()


@pytest.mark.parametrize("addr", ["[::1]:{}", "[::]:{}", ":{}"])
def test_ipv6_is_served(addr, tmp_path) -> None:
    port = free_port()
    with RegistryServer(
        tmp_path / "server", tmp_path / "storage", config={"http": {"addr": addr.format(port)}}, port=port, ip="::1"
    ):
        client = RegistryClient(f"[::1]:{port}")
        location = client.start_upload("a").header("Location")
        assert location.startswith(f"http://[::1]:{port}/v2/a/")
        client.finish_upload(location, digest_of(b"x"), b"x").expect(201)
