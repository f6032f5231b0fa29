"""Collection of quarantined content, and its return by a push."""

from collections.abc import Callable
from pathlib import Path

import pytest

from core.model.digest import Digest
from core.model.names import RepositoryName
from core.store import layout
from tests.support.clients import Crane
from tests.support.commands import run_registry
from tests.support.oci import make_image, write_layout
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient

pytestmark = pytest.mark.e2e

NAME = RepositoryName("team/app")
IMAGE = make_image(980, layer_sizes=(20_000, 30_000))


def command(server: RegistryServer, *words: str) -> int:
    return run_registry(words[0], str(server.config_path), *words[1:]).returncode


def test_push_replaces_quarantined_and_collected_content(tool: Callable[[str], str], tmp_path: Path) -> None:
    tool("crane")
    with RegistryServer(tmp_path, tmp_path / "storage") as server:
        client = RegistryClient(server.host)
        client.push(NAME, "v1", IMAGE)
        client.push(NAME, "v2", IMAGE)
        client.push(NAME, "sound", make_image(981))
        damaged = server.storage / layout.blob_data(Digest(IMAGE.blobs[1].digest)).lstrip("/")
        damaged.write_bytes(b"damaged")
        assert command(server, "verify", "--repair") == 5

        assert command(server, "garbage-collect", "--offline") == 0

        assert client.tags(NAME) == ["sound", "v1", "v2"]
        assert make_image(981).digest in client.pull(NAME, "sound")
        content = write_layout(tmp_path / "layout", IMAGE, "v1")
        Crane(tmp_path / "home", server.host).push(content, "v1", f"{NAME}:v1")
        # One push under one tag brings back all of them.
        for tag in ("v1", "v2"):
            assert client.pull(NAME, tag)[IMAGE.digest] == IMAGE.manifest.data
        assert command(server, "verify") == 0
