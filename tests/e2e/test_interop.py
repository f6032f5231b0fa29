"""Ours and Debian's docker-registry serve one folder, at the same time and in turn, and agree."""

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.oci import (
    Image,
    Index,
    contents_of,
    digest_of,
    make_artifact,
    make_image,
    make_index,
    make_multi_platform_index,
)
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient

pytestmark = pytest.mark.e2e

IMAGES: dict[str, Image | Index] = {
    "oci": make_image(100, layer_sizes=(5_000, 50_000)),
    "docker": make_image(101, docker=True),
    "index": make_multi_platform_index(102),
    "list": make_multi_platform_index(103, docker=True),
}


@dataclass(frozen=True)
class Pair:
    """Two registries on one folder: one writes, the other has to see it."""

    writer: RegistryClient
    reader: RegistryClient
    storage: Path
    reference: RegistryServer


@pytest.fixture(scope="module")
def servers(
    tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, RegistryServer]]:
    tool("docker-registry")
    folder = tmp_path_factory.mktemp("interop")
    storage = folder / "storage"
    with (
        RegistryServer(folder / "ours", storage) as ours,
        RegistryServer.reference(folder / "reference", storage) as reference,
    ):
        yield {"ours": ours, "reference": reference}


@pytest.fixture(params=["ours", "reference"])
def pair(request: pytest.FixtureRequest, servers: dict[str, RegistryServer]) -> Pair:
    """Both orders: the parameter names the registry that writes."""
    other = "reference" if request.param == "ours" else "ours"
    return Pair(
        writer=RegistryClient(servers[request.param].host),
        reader=RegistryClient(servers[other].host),
        storage=servers["ours"].storage,
        reference=servers["reference"],
    )


@pytest.fixture
def repository(request: pytest.FixtureRequest) -> str:
    """A repository of the test's own."""
    return digest_of(request.node.name.encode()).partition(":")[2][:12] + "/image"


@pytest.mark.parametrize("kind", IMAGES)
def test_image_is_read_digest_by_digest(pair: Pair, repository: str, kind: str) -> None:
    image = IMAGES[kind]
    pair.writer.push(repository, "v1", image)

    expected = {content.digest: content.data for content in contents_of(image)}
    assert pair.reader.pull(repository, "v1") == expected
    assert pair.reader.pull(repository, image.digest) == expected
    assert pair.reader.get_manifest(repository, "v1").media_type == image.manifest.media_type


def test_tag_lists_and_catalogs_agree(pair: Pair, repository: str) -> None:
    for tag in ("b", "a", "1.0", "1.0-rc"):
        pair.writer.push(repository, tag, make_image(110))

    # 2.8 answers in the order of the directory.
    assert sorted(pair.reader.tags(repository)) == sorted(pair.writer.tags(repository))
    for client in (pair.reader, pair.writer):
        names = client.catalog()
        assert repository in names
        assert names == sorted(names)


def test_moved_tag_is_seen_moved(pair: Pair, repository: str) -> None:
    old, new = make_image(111), make_image(112)
    pair.reader.push(repository, "v1", old)
    pair.writer.push(repository, "v1", new)

    assert pair.reader.get_manifest(repository, "v1").digest == new.digest
    assert pair.reader.get_manifest(repository, old.digest).digest == old.digest


def test_manifest_deleted_by_digest_is_gone(pair: Pair, repository: str) -> None:
    kept, deleted = make_image(113), make_image(114)
    pair.reader.push(repository, "kept", kept)
    for tag in ("one", "two"):
        pair.reader.push(repository, tag, deleted)

    pair.writer.delete_manifest(repository, deleted.digest)

    for client in (pair.writer, pair.reader):
        assert client.tags(repository) == ["kept"]
        for reference in (deleted.digest, "one", "two"):
            client.request("GET", f"/v2/{repository}/manifests/{reference}").expect(404)
        assert client.pull(repository, "kept").keys() == {content.digest for content in contents_of(kept)}


def test_deleted_manifest_can_come_back(pair: Pair, repository: str) -> None:
    image = make_image(115)
    pair.reader.push(repository, "v1", image)
    pair.writer.delete_manifest(repository, image.digest)

    pair.reader.push(repository, "v2", image)

    assert pair.writer.tags(repository) == ["v2"]
    assert image.digest in pair.writer.pull(repository, "v2")


def test_unlinked_blob_is_gone(pair: Pair, repository: str) -> None:
    digest = pair.reader.push_blob(repository, b"unlinked soon")

    pair.writer.request("DELETE", f"/v2/{repository}/blobs/{digest}").expect(202)

    pair.reader.request("GET", f"/v2/{repository}/blobs/{digest}").expect(404)


def test_upload_begun_at_one_registry_finishes_at_the_other(pair: Pair, repository: str) -> None:
    first, second, third = b"a" * 70_000, b"b" * 50_000, b"c" * 10
    location = pair.writer.start_upload(repository).header("Location")

    location = pair.reader.append(location, first).expect(202).header("Location")
    location = pair.writer.append(location, second).expect(202).header("Location")
    whole = first + second + third
    pair.reader.finish_upload(location, digest_of(whole), third).expect(201)

    for client in (pair.reader, pair.writer):
        assert client.get_blob(repository, digest_of(whole)) == whole


def test_upload_cancelled_at_one_registry_is_unknown_at_the_other(pair: Pair, repository: str) -> None:
    location = pair.writer.start_upload(repository).header("Location")
    location = pair.writer.append(location, b"some bytes").expect(202).header("Location")

    pair.reader.request("DELETE", location).expect(204)

    pair.writer.append(location, b"more").expect(404)


def test_blob_is_mounted_from_what_the_other_wrote(pair: Pair, repository: str) -> None:
    digest = pair.reader.push_blob(repository, b"to be mounted")
    target = f"{repository}-mounted"

    pair.writer.request("POST", f"/v2/{target}/blobs/uploads/?mount={digest}&from={repository}").expect(201)

    assert pair.reader.get_blob(target, digest) == b"to be mounted"


def test_referrer_stored_at_the_reference_is_listed(servers: dict[str, RegistryServer], repository: str) -> None:
    """The reference knows no referrers, so a client lists them in an index under the fallback tag."""
    ours, reference = (RegistryClient(servers[name].host) for name in ("ours", "reference"))
    image = make_image(116)
    reference.push(repository, "v1", image)
    signature = make_artifact(b"signature", artifact_type="application/x-signature", subject=image.manifest)
    reference.push(repository, image.digest.replace(":", "-"), make_index([signature]))

    assert [entry["digest"] for entry in ours.referrers(repository, image.digest)] == [signature.digest]


def test_garbage_collection_of_the_reference_keeps_our_images(tool: Callable[[str], str], tmp_path: Path) -> None:
    """It reads the whole tree that this registry wrote, removes the deleted content, and leaves the rest pullable."""
    storage = tmp_path / "storage"
    deleted = make_image(120)
    with RegistryServer(tmp_path / "ours", storage) as ours:
        client = RegistryClient(ours.host)
        for kind, image in IMAGES.items():
            client.push(f"kept/{kind}", "v1", image)
        signature = make_artifact(b"s", artifact_type="application/x-s", subject=IMAGES["oci"].manifest)
        client.push("kept/oci", "signature", signature)
        client.push_blob("kept/oci", b"sha512 content", digest=digest_of(b"sha512 content", "sha512"))
        client.append(client.start_upload("kept/oci").header("Location"), b"unfinished").expect(202)
        client.push("deleted/image", "v1", deleted)
        client.delete_manifest("deleted/image", deleted.digest)
    reference = RegistryServer.reference(tmp_path / "reference", storage)
    collect = (tool("docker-registry"), "garbage-collect")

    dry = _run(*collect, "--dry-run", str(reference.config_path))
    _run(*collect, str(reference.config_path))

    assert f"blob eligible for deletion: {deleted.digest}" in dry
    for image in IMAGES.values():
        for content in contents_of(image):
            assert f"blob eligible for deletion: {content.digest}" not in dry
    with ours, reference:
        for registry in (ours, reference):
            client = RegistryClient(registry.host)
            for kind, image in IMAGES.items():
                assert client.pull(f"kept/{kind}", "v1").keys() == {content.digest for content in contents_of(image)}
            client.request("GET", f"/v2/deleted/image/manifests/{deleted.digest}").expect(404)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout
