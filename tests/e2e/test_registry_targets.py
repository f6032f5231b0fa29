"""Copies to real registries, ours and Debian's docker-registry: the contract of the target, cut connections, kills."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Self

import pytest

from adapters.registry_target.http import HttpRegistryTarget
from adapters.registry_target.sending import Sender
from adapters.registry_target.uploads import UnfinishedUploads
from adapters.upstream.options import UpstreamOptions
from core.errors import UnsupportedError, UpstreamUnavailableError
from core.model.digest import Digest
from tests.contracts.registry_target_contract import (
    LAYER,
    NAME,
    V1,
    DeletingRegistryTargetContract,
    RegistryTargetContract,
    described,
    manifest,
    reading,
)
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient

pytestmark = pytest.mark.e2e

MIB = 1024 * 1024


def new_target(url: str, uploads: Path | None = None) -> HttpRegistryTarget:
    sender = Sender(url.partition("//")[2], UpstreamOptions(urls=(url,)))
    return HttpRegistryTarget("the target", sender, uploads=UnfinishedUploads(uploads))


class TestOurRegistry(DeletingRegistryTargetContract):
    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[RegistryServer]:
        with RegistryServer(tmp_path / "server", tmp_path / "storage") as server:
            yield server

    @pytest.fixture
    async def target(self, server: RegistryServer) -> AsyncIterator[HttpRegistryTarget]:
        async with new_target(server.url) as target:
            yield target


class TestDockerRegistry(RegistryTargetContract):
    @pytest.fixture
    def server(self, tool: Callable[[str], str], tmp_path: Path) -> Iterator[RegistryServer]:
        tool("docker-registry")
        with RegistryServer.reference(tmp_path / "server", tmp_path / "storage") as server:
            yield server

    @pytest.fixture
    async def target(self, server: RegistryServer) -> AsyncIterator[HttpRegistryTarget]:
        async with new_target(server.url) as target:
            yield target

    async def test_a_referrer_is_not_listed_and_a_tag_not_deleted(self, target: HttpRegistryTarget) -> None:
        image = await self.put(target, b"layer", tags=[V1])
        about = {"mediaType": image.media_type, "digest": image.digest, "size": len(image.content)}
        assert not await target.put_manifest(NAME, manifest(b"layer", subject=about))
        with pytest.raises(UnsupportedError):
            await target.delete_tag(NAME, V1)


class CuttingProxy:
    """Forwards connections to a registry, and cuts each one that has carried a number of bytes to the registry.

    The registry may read all of them before the client learns of the cut, so that both agree on what arrived.
    """

    def __init__(self, port: int, *, cuts_after: int) -> None:
        self._backend = port
        self._cuts_after = cuts_after
        self.bytes_sent = 0
        self.cuts = 0
        self._writers: list[asyncio.StreamWriter] = []
        self._open = 0
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_details: object) -> None:
        self._server.close()
        for each in self._writers:
            each.transport.abort()
        while self._open:  # noqa: ASYNC110 - the streams of asyncio have no event for their end
            await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        behind, before = await asyncio.open_connection("127.0.0.1", self._backend)
        self._writers += (writer, before)
        back = asyncio.create_task(self._pump(behind, writer))
        await self._pump(reader, before, is_counted=True)
        back.cancel()
        await asyncio.wait([back])
        with contextlib.suppress(OSError):
            before.write_eof()
            while await behind.read(65_536):
                pass
        for each in (writer, before):
            each.transport.abort()
        self._open -= 1

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_counted: bool = False
    ) -> None:
        with contextlib.suppress(OSError):
            await self._carry(reader, writer, is_counted=is_counted)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_counted: bool) -> None:
        carried = 0
        while data := await reader.read(65_536):
            carried += len(data)
            writer.write(data)
            await writer.drain()
            if is_counted:
                self.bytes_sent += len(data)
            if is_counted and carried > self._cuts_after:
                self.cuts += 1
                return


async def test_a_blob_whose_connection_is_cut_again_and_again_is_sent_about_once(tmp_path: Path) -> None:
    # Arrange
    content = LAYER * 128
    with RegistryServer(tmp_path / "server", tmp_path / "storage") as server:
        async with (
            CuttingProxy(server.port, cuts_after=4 * MIB) as proxy,
            new_target(proxy.url) as target,
        ):
            # Act
            await target.put_blob(NAME, described(content), reading(content))

        # Assert
        assert pulled(server, Digest.of(content)) == content
        assert proxy.cuts >= 12
        assert proxy.bytes_sent < 1.01 * len(content)


async def test_a_registry_that_loses_interrupted_uploads_gets_the_blob_again(
    tool: Callable[[str], str], tmp_path: Path
) -> None:
    # Arrange
    tool("docker-registry")
    content = LAYER * 32
    offsets: list[int] = []
    with RegistryServer.reference(tmp_path / "server", tmp_path / "storage") as server:
        async with (
            CuttingProxy(server.port, cuts_after=4 * MIB) as proxy,
            new_target(proxy.url, tmp_path / "uploads.json") as target,
        ):
            with pytest.raises(UpstreamUnavailableError):
                await target.put_blob(NAME, described(content), reading(content))

        # Act
        async with new_target(server.url, tmp_path / "uploads.json") as target:
            await target.put_blob(NAME, described(content), reading(content, offsets=offsets))

        # Assert
        assert pulled(server, Digest.of(content)) == content
        assert offsets == [0]


async def test_another_process_continues_the_upload(tmp_path: Path) -> None:
    # Arrange
    content = LAYER * 32
    offsets: list[int] = []
    with RegistryServer(tmp_path / "server", tmp_path / "storage") as server:
        async with new_target(server.url, tmp_path / "uploads.json") as target:
            with pytest.raises(UpstreamUnavailableError, match="the source failed"):
                await target.put_blob(NAME, described(content), reading(content, breaks_at=9 * MIB))
        server.stop()
        server.start()

        # Act
        async with new_target(server.url, tmp_path / "uploads.json") as target:
            await target.put_blob(NAME, described(content), reading(content, offsets=offsets))

        # Assert
        assert pulled(server, Digest.of(content)) == content
        assert len(offsets) == 1
        assert offsets[0] > 8 * MIB
        assert (tmp_path / "uploads.json").read_text() == "{}"
        assert (tmp_path / "uploads.json").stat().st_mode & 0o777 == 0o600


def pulled(server: RegistryServer, digest: Digest) -> bytes:
    return RegistryClient(server.host).get_blob(NAME, digest)
