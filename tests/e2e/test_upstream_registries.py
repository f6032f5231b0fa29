"""Reading from real registries, ours and Debian's docker-registry: open, with passwords, and with tokens."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import pytest

from adapters.upstream.http import HttpUpstream
from adapters.upstream.options import UpstreamOptions
from core.errors import UpstreamAbsentError, UpstreamUnavailableError
from core.model.digest import Digest
from core.model.names import Tag
from core.model.secret import Secret
from tests.support.htpasswd import write_htpasswd
from tests.support.oci import make_artifact, make_image, make_index, make_multi_platform_index
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient
from tests.support.streams import collect
from tests.support.token_server import TokenServer

pytestmark = pytest.mark.e2e

PASSWORD = "hunter2"
NAME, TAG = "team/app", Tag("v1")
INDEX = make_multi_platform_index(1)
DOCKER = make_index([make_image(7, docker=True)], docker=True)
SBOM = make_artifact(b"sbom", artifact_type="application/x.sbom", subject=INDEX.manifest)
RIGHTS = {NAME: ("pull",), "team/none": ("pull",), "catalog": ("*",)}

Start = Callable[[Path, Path, dict[str, Any]], RegistryServer]


def ours(folder: Path, storage: Path, config: dict[str, Any]) -> RegistryServer:
    return RegistryServer(folder, storage, config=config)


def debian(folder: Path, storage: Path, config: dict[str, Any]) -> RegistryServer:
    return RegistryServer.reference(folder, storage, config=config)


@pytest.fixture(
    params=[(ours, "open"), (ours, "htpasswd"), (ours, "token"), (debian, "open"), (debian, "htpasswd")],
    ids=lambda param: f"{param[0].__name__}-{param[1]}",
)
def kind(request: pytest.FixtureRequest) -> tuple[Start, str]:
    """Which registry, and how it asks for credentials."""
    found: tuple[Start, str] = request.param
    return found


@pytest.fixture
def registry(kind: tuple[Start, str], tool: Callable[[str], str], tmp_path: Path) -> Iterator[RegistryServer]:
    start, auth = kind
    if start is debian:
        tool("docker-registry")
    with start(tmp_path / "open", tmp_path / "storage", {}) as server:
        client = RegistryClient(server.host)
        client.push(NAME, TAG, INDEX)
        client.push(NAME, "docker", DOCKER)
        # Registries without the referrers API get the fallback tag that clients write.
        client.push(NAME, "sha256-" + INDEX.digest.partition(":")[2], make_index([SBOM]))
    with ExitStack() as stack:
        config: dict[str, Any] = {}
        if auth == "htpasswd":
            file = write_htpasswd(tmp_path / "users", robot="hunter2")
            config = {"auth": {"htpasswd": {"realm": "registry", "path": str(file)}}}
        if auth == "token":
            tokens = stack.enter_context(TokenServer(tmp_path, {"robot": ("hunter2", RIGHTS)}))
            config = {"auth": {"token": tokens.settings}}
        yield stack.enter_context(start(tmp_path / auth, tmp_path / "storage", config))


def connect(server: RegistryServer, password: str = PASSWORD) -> HttpUpstream:
    return HttpUpstream("real", UpstreamOptions(urls=(server.url,), username="robot", password=Secret(password)))


async def test_images_are_read(registry: RegistryServer) -> None:
    async with connect(registry) as upstream:
        await upstream.check()
        for tag, root in ((TAG, INDEX), (Tag("docker"), DOCKER)):
            target = await upstream.resolve(NAME, tag)
            assert target is not None
            assert (target.digest, target.media_type) == (root.digest, root.manifest.media_type)
            assert (await upstream.manifest(NAME, tag)).content == root.manifest.data
            for image in root.images:
                assert (await upstream.manifest(NAME, Digest(image.digest))).content == image.manifest.data
                for blob in image.blobs:
                    async with upstream.open_blob(NAME, Digest(blob.digest), offset=5, length=100) as reader:
                        assert reader.size == len(blob.data)
                        assert b"".join(await collect(reader)) == blob.data[5:105]


async def test_lists_are_read(registry: RegistryServer) -> None:
    async with connect(registry) as upstream:
        assert {TAG, "docker"} <= set(await collect(upstream.tags(NAME)))
        assert await collect(upstream.tags(NAME, after="sha257")) == [TAG]
        assert await collect(upstream.repositories()) == [NAME]
        [referrer] = await collect(upstream.referrers(NAME, Digest(INDEX.digest)))
        assert referrer.digest == SBOM.digest


async def test_unknown_content_is_absent(registry: RegistryServer) -> None:
    async with connect(registry) as upstream:
        for question in (upstream.resolve(NAME, Tag("none")), upstream.manifest("team/none", TAG)):
            with pytest.raises(UpstreamAbsentError):
                await question


async def test_refused_password_is_an_outage_and_a_missing_one_is_not(
    registry: RegistryServer, kind: tuple[Start, str]
) -> None:
    is_open = kind[1] == "open"
    async with connect(registry, "wrong") as upstream:
        with nullcontext() if is_open else pytest.raises(UpstreamUnavailableError, match="refused the user name"):
            await upstream.resolve(NAME, TAG)
    async with HttpUpstream("real", UpstreamOptions(urls=(registry.url,))) as upstream:
        with nullcontext() if is_open else pytest.raises(UpstreamAbsentError):
            await upstream.resolve(NAME, TAG)
