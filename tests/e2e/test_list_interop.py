"""Lists are right at once when Debian's docker-registry writes to the same folder, and after its garbage collection."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import run_registry
from tests.support.large_stores import tagged_images, write_to_folder
from tests.support.oci import Image, make_artifact, make_image, make_multi_platform_index
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient

pytestmark = pytest.mark.e2e

A, B, C = (make_image(number, layer_sizes=(1_000 * (number + 1),)) for number in range(3))
INDEX = make_multi_platform_index(9)
SUMMARIES = "docker/registry/v2/_summaries"


@pytest.fixture(scope="module")
def servers(
    tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RegistryServer, RegistryServer]]:
    """Ours with two workers, and the reference, on one folder."""
    tool("docker-registry")
    folder = tmp_path_factory.mktemp("lists")
    with (
        RegistryServer(folder / "ours", folder / "storage", config={"http": {"workers": 2}}) as ours,
        RegistryServer.reference(folder / "reference", folder / "storage") as reference,
    ):
        yield ours, reference


@pytest.fixture
def ours(servers: tuple[RegistryServer, RegistryServer]) -> RegistryClient:
    return RegistryClient(servers[0].host)


@pytest.fixture
def reference(servers: tuple[RegistryServer, RegistryServer]) -> RegistryClient:
    return RegistryClient(servers[1].host)


def get(client: RegistryClient, path: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(client.request("GET", path).expect(200).body)
    return document


def listed(client: RegistryClient, name: str) -> dict[str, dict[str, Any]]:
    """Return the entries of a list by tag, as several requests show them: the connections reach all workers."""
    answers = [get(client, f"/v2/{name}/_sohu/registry/tags?n=1000") for _ in range(4)]
    assert all(answer == answers[0] for answer in answers)
    return {entry["name"]: entry for entry in answers[0]["tags"]}


def digests(client: RegistryClient, name: str) -> dict[str, str]:
    return {tag: entry["digest"] for tag, entry in listed(client, name).items()}


def size(image: Image) -> int:
    return len(image.manifest.data) + sum(len(blob.data) for blob in image.blobs)


def test_lists_follow_both_registries(ours: RegistryClient, reference: RegistryClient) -> None:
    name = "both/app"
    reference.push(name, "v1", A)
    assert digests(ours, name) == {"v1": A.digest}
    ours.push(name, "v2", B)
    reference.push(name, "v1", C)
    assert digests(ours, name) == {"v1": C.digest, "v2": B.digest}
    reference.push(name, "v2", A)
    ours.push(name, "v3", B)
    entries = listed(ours, name)
    assert {tag: entry["digest"] for tag, entry in entries.items()} == {"v1": C.digest, "v2": A.digest, "v3": B.digest}
    assert {tag: entry["size"] for tag, entry in entries.items()} == {"v1": size(C), "v2": size(A), "v3": size(B)}
    reference.delete_manifest(name, B.digest)
    assert digests(ours, name) == {"v1": C.digest, "v2": A.digest}
    ours.delete_manifest(name, C.digest)
    assert digests(ours, name) == {"v2": A.digest}
    assert reference.tags(name) == ["v2"]


def test_repositories_and_search_follow_the_reference(ours: RegistryClient, reference: RegistryClient) -> None:
    reference.push("later/found", "v1", A)
    for path, member in (
        ("/v2/_sohu/registry/repositories?q=later", "repositories"),
        ("/v2/_sohu/registry/search?q=name:later", "results"),
    ):
        assert "later/found" in json.dumps(get(ours, path)[member])
    assert "later/found" in json.dumps(get(ours, "/v1/search?q=later"))


def test_garbage_collection_of_the_reference_leaves_lists_right(tool: Callable[[str], str], tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    with RegistryServer(tmp_path / "ours", storage) as server:
        client = RegistryClient(server.host)
        for tag, image in (("v1", A), ("v1", B), ("v2", C)):
            client.push("kept/app", tag, image)
        client.push("kept/index", "v1", INDEX)
        client.push("kept/app", "signature", make_artifact(b"s", artifact_type="application/x-s", subject=B.manifest))
        client.push("gone/app", "v1", make_image(8))
        client.delete_manifest("gone/app", make_image(8).digest)
        before = listed(client, "kept/app")
        listed(client, "kept/index")
    assert not run_registry("catalog", "rebuild", str(server.config_path)).returncode
    summaries = {path: path.read_bytes() for path in (storage / SUMMARIES).rglob("*") if path.is_file()}
    assert summaries
    reference = RegistryServer.reference(tmp_path / "reference", storage)
    command = [tool("docker-registry"), "garbage-collect", "-m", str(reference.config_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "_summaries" not in done.stdout
    assert {path: path.read_bytes() for path in (storage / SUMMARIES).rglob("*") if path.is_file()} == summaries
    with reference, server:
        assert "kept/app" in RegistryClient(reference.host).catalog()
        assert not [name for name in RegistryClient(reference.host).catalog() if "_summaries" in name]
        assert listed(client, "kept/app") == before
        # The reference removes the images of an index, because no tag names them.
        assert digests(client, "kept/index") == {"v1": INDEX.digest}
        assert client.pull("kept/app", "v1").keys() >= {B.digest}


def test_old_store_is_listed_at_once_and_completely_after_a_rebuild(tmp_path: Path) -> None:
    tags = [f"v{number:04}" for number in range(700)]
    write_to_folder(tmp_path / "storage", tagged_images("old/app", tags))
    with RegistryServer(tmp_path / "ours", tmp_path / "storage") as server:
        client = RegistryClient(server.host)
        answer = get(client, "/v2/old/app/_sohu/registry/tags?n=1000")
        assert [entry["name"] for entry in answer["tags"]] == tags
        assert all(entry["digest"] and entry["pushed"] for entry in answer["tags"])
        assert answer.get("incomplete", False) == any("size" not in entry for entry in answer["tags"])
        by_push = get(client, "/v2/old/app/_sohu/registry/tags?n=3&sort=-pushed")
        assert [entry["name"] for entry in by_push["tags"]] == tags[:3]
        assert not run_registry("catalog", "rebuild", str(server.config_path)).returncode
    with server:
        answer = get(client, "/v2/old/app/_sohu/registry/tags?n=1000")
        assert "incomplete" not in answer
        assert all("size" in entry for entry in answer["tags"])
