"""The limits of the cache: it stays within its size, and removes whole images while clients pull."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.caches import CacheServer, until, upstream_section
from tests.support.growing_folders import sizes_of_files
from tests.support.oci import OCI_CONFIG, OCI_MANIFEST, Content, Image, contents_of, make_image
from tests.support.registry_client import RegistryClient
from tests.support.upstream_server import UpstreamServer

pytestmark = pytest.mark.e2e

MB = 1_000_000
SIZE_MB = 6
IMAGES = 40


@pytest.fixture(scope="module")
def upstream() -> Iterator[UpstreamServer]:
    with UpstreamServer() as server:
        yield server


def with_shared_layer(image: Image, shared: Content) -> Image:
    """Return an image that also has the layer of another one."""
    config = Content(OCI_CONFIG, image.blobs[0].data)
    layers = [shared, *image.blobs[1:]]
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.descriptor(),
        "layers": [layer.descriptor() for layer in layers],
    }
    return Image(Content(OCI_MANIFEST, json.dumps(document).encode()), (config, *layers), image.platform)


def size_of(folder: Path) -> int:
    """Return the size of all files below a store, without its reserve for a full disk, while a server changes it."""
    return sum(size for path, size in sizes_of_files(folder) if path.name != "reserve")


def test_cache_stays_within_its_size(upstream: UpstreamServer, tmp_path: Path) -> None:
    kept = make_image(1970, layer_sizes=(MB,))
    images = [
        with_shared_layer(make_image(2000 + number, layer_sizes=(MB,)), kept.blobs[1]) for number in range(IMAGES)
    ]
    upstream.content.add("library/kept", kept, "lts")
    for number, image in enumerate(images):
        upstream.content.add("library/app", image, f"v{number}")
    limits = {"size": f"{SIZE_MB}MB", "keep": ["up.test/library/kept:lts"]}
    proxy = {"upstreams": [upstream_section(upstream, "up.test")], "limits": limits}
    config = {"storage": {"maintenance": {"garbagecollect": {"settletime": "2s"}}}}
    with CacheServer(tmp_path / "server", tmp_path / "storage", proxy=proxy, config=config) as cache:
        client = RegistryClient(cache.host)
        client.pull("up.test/library/kept", "lts")
        for number, image in enumerate(images):
            pulled = client.pull("up.test/library/app", f"v{number}")
            assert pulled == {content.digest: content.data for content in contents_of(image)}
            assert size_of(cache.storage) <= 1.1 * SIZE_MB * MB

        # Images that are pulled now are stored again, in the place of older ones.
        blobs = cache.storage / "docker/registry/v2/blobs/sha256"

        def is_stored(content: Content) -> bool:
            encoded = content.digest.removeprefix("sha256:")
            return (blobs / encoded[:2] / encoded / "data").exists()

        def is_pulled_and_stored(number: int) -> bool:
            client.pull("up.test/library/app", f"v{number}")
            return is_stored(images[number].blobs[2])

        until(lambda: is_pulled_and_stored(IMAGES - 1), every=0.5)
        assert size_of(cache.storage) <= 1.1 * SIZE_MB * MB
        upstream.close()
        try:
            assert client.pull("up.test/library/kept", "lts").keys() == {each.digest for each in contents_of(kept)}
        finally:
            upstream.open()
        # Images that were removed, or never stored, are fetched again.
        for number in range(SIZE_MB + 1):
            assert images[number].digest in client.pull("up.test/library/app", f"v{number}")
