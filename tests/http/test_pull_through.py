"""The pull-through cache, joined by the container, between a client and an upstream over HTTP."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pytest_aiohttp import AiohttpServer

from config.settings import FilesystemSettings, ProxySettings, Settings, StorageKind, StorageSettings
from tests.support.cache_application import ServedApplication, docker_io, served_application
from tests.support.oci import make_image
from tests.support.upstream_server import UpstreamServer

NAME = "library/alpine"
"""The repository at the upstream."""


@pytest.fixture
def upstream() -> Iterator[UpstreamServer]:
    with UpstreamServer() as server:
        yield server


class Cache:
    """A registry with the upstream below `docker.io`, and a client."""

    def __init__(self, served: ServedApplication) -> None:
        self.session = served.session
        self.root = served.root
        self.application = served.application

    async def get(self, path: str, **headers: str) -> tuple[int, bytes, Any]:
        async with self.session.get(f"{self.root}/v2/{path}", headers=headers) as response:
            return response.status, await response.read(), response.headers


@pytest.fixture
def cache(upstream: UpstreamServer, tmp_path: Path, aiohttp_server: AiohttpServer) -> Callable[[], Any]:
    @asynccontextmanager
    async def start() -> AsyncIterator[Cache]:
        settings = Settings(
            storage=StorageSettings(
                kind=StorageKind.FILESYSTEM, filesystem=FilesystemSettings(root_directory=str(tmp_path))
            ),
            proxy=ProxySettings(upstreams=(docker_io(upstream),)),
        )
        async with served_application(settings, aiohttp_server) as served:
            yield Cache(served)

    return start


async def test_image_is_pulled_once_for_many_clients(cache: Callable[[], Any], upstream: UpstreamServer) -> None:
    image = make_image(1)
    upstream.content.add(NAME, image, "latest")
    async with cache() as one:
        for _ in range(3):
            status, content, headers = await one.get(f"docker.io/{NAME}/manifests/latest")
            assert (status, content) == (200, image.manifest.data)
            assert headers["Docker-Content-Digest"] == image.digest
            for blob in image.blobs:
                status, content, _ = await one.get(f"docker.io/{NAME}/blobs/{blob.digest}")
                assert (status, content) == (200, blob.data)
    assert upstream.count("manifest GET") == 1
    assert upstream.count("blob GET") == len(image.blobs)
    assert upstream.count("blob HEAD") == 0


async def test_cached_image_survives_the_upstream_and_a_restart(
    cache: Callable[[], Any], upstream: UpstreamServer
) -> None:
    image = make_image(1)
    upstream.content.add(NAME, image, "latest")
    paths = [f"docker.io/{NAME}/manifests/latest", *(f"docker.io/{NAME}/blobs/{each.digest}" for each in image.blobs)]
    async with cache() as one:
        for path in paths:
            assert (await one.get(path))[0] == 200
    upstream.close()
    async with cache() as one:
        for path in paths:
            assert (await one.get(path))[0] == 200
        assert (await one.get(f"docker.io/{NAME}/manifests/other"))[0] == 502


async def test_name_of_the_client_is_found_by_its_host(cache: Callable[[], Any], upstream: UpstreamServer) -> None:
    image = make_image(1)
    upstream.content.add(NAME, image, "latest")
    async with cache() as one:
        for path in ("alpine/manifests/latest?ns=docker.io", "library/alpine/manifests/latest?ns=docker.io"):
            status, content, headers = await one.get(path)
            assert (status, content) == (200, image.manifest.data)
            assert headers["OCI-Namespace"] == "docker.io"
        assert (await one.get("alpine/manifests/latest?ns=quay.io"))[0] == 404
        assert (await one.get("alpine/manifests/latest"))[0] == 404
