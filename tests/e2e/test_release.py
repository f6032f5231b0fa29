"""Attachments of `make release` are found in the registry, and are copied and packed with the image."""

import json
import tarfile
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

import pytest

from scripts.release import images
from scripts.release.errors import ReleaseError
from scripts.release.packages import build_packages, package_chart
from scripts.release.programs import run
from scripts.release.project import NAME, Commit, export, read_version
from tests.support.oci import make_image, make_multi_platform_index
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient
from tests.support.tools import REPOSITORY_ROOT

pytestmark = pytest.mark.e2e

COMMIT = Commit("1.2.3", "0123456789abcdef0123456789abcdef01234567", 1_700_000_000)
SBOM, PROVENANCE = images.ATTACHMENTS


@pytest.fixture(scope="module")
def released(server: RegistryServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Push an image with two platforms and attach files to all three manifests; return the digests."""
    registry = RegistryClient(server.host)
    index = make_multi_platform_index(1, docker=True)
    registry.push(NAME, COMMIT.version, index)
    folder = tmp_path_factory.mktemp("attachments")
    files = {SBOM: folder / "bill.json", PROVENANCE: folder / "provenance.json"}
    for artifact_type, path in files.items():
        path.write_text(json.dumps({"type": artifact_type}))
    digests = {"": index.digest, **{str(number): image.digest for number, image in enumerate(index.images)}}
    images.attach(server.host, digests, files, COMMIT)
    return digests


def test_every_manifest_has_both_referrers(registry: RegistryClient, released: dict[str, str]) -> None:
    assert len(released) == 3
    found = [registry.referrers(NAME, digest) for digest in released.values()]
    assert [{entry["artifactType"] for entry in entries} for entries in found] == [{SBOM, PROVENANCE}] * 3
    created = {entry["annotations"]["org.opencontainers.image.created"] for entries in found for entry in entries}
    assert created == {"2023-11-14T22:13:20Z"}


def test_oras_discovers_and_pulls_what_is_attached(
    tool: Callable[[str], str], server: RegistryServer, released: dict[str, str], tmp_path: Path
) -> None:
    tool("oras")
    subject = f"{server.host}/{NAME}:{COMMIT.version}"
    shown = json.loads(run("oras", "discover", "--plain-http", "--format=json", subject))
    types = {entry["artifactType"]: entry["reference"] for entry in shown["referrers"]}
    assert types.keys() == {SBOM, PROVENANCE}

    run("oras", "pull", "--plain-http", "--no-tty", "--output", tmp_path, types[SBOM])
    assert json.loads((tmp_path / "bill.json").read_text()) == {"type": SBOM}


def test_page_of_the_image_names_what_is_attached(registry: RegistryClient, released: dict[str, str]) -> None:
    page = registry.request("GET", f"/ui/{NAME}/_tags/{COMMIT.version}", headers={"Accept": "text/html"})
    text = page.expect(HTTPStatus.OK).body.decode()
    assert "CycloneDX" in text
    assert "Provenance" in text


def test_archive_holds_the_image_with_its_referrers(
    tool: Callable[[str], str], server: RegistryServer, released: dict[str, str], tmp_path: Path
) -> None:
    tool("oras")
    packed = []
    for number in (1, 2):
        scratch = tmp_path / str(number)
        scratch.mkdir()
        images.archive(server.host, COMMIT, scratch, scratch / "image.tar")
        packed.append((scratch / "image.tar").read_bytes())
    assert packed[0] == packed[1]

    with tarfile.open(tmp_path / "1" / "image.tar") as archive:
        names = archive.getnames()
        [loaded] = json.load(archive.extractfile("manifest.json") or pytest.fail("no manifest.json"))
    assert {f"blobs/{digest.replace(':', '/')}" for digest in released.values()} <= set(names)
    assert {loaded["Config"], *loaded["Layers"]} <= set(names)

    copy = f"{server.host}/copy/{NAME}:{COMMIT.version}"
    source = f"{tmp_path}/1/image.tar:{COMMIT.version}"
    run("oras", "copy", "--recursive", "--no-tty", "--from-oci-layout", "--to-plain-http", source, copy)
    registry = RegistryClient(server.host)
    assert [len(registry.referrers(f"copy/{NAME}", digest)) for digest in released.values()] == [2, 2, 2]


def test_base_image_is_found_with_the_platforms_that_it_has(
    tool: Callable[[str], str], server: RegistryServer, registry: RegistryClient
) -> None:
    tool("oras")
    index = make_multi_platform_index(2)
    registry.push("python", "slim", index)
    found = {image.platform["architecture"]: image.digest for image in index.images}
    name = f"{server.host}/python"

    base = images.find_base(f"{name}:slim", ["amd64", "arm64", "riscv64"])
    assert (base.reference, base.images) == (f"{name}@{index.digest}", found)
    assert images.find_base(base.reference, ["arm64"]).images == {"arm64": found["arm64"]}
    with pytest.raises(ReleaseError, match="has no image for riscv64"):
        images.find_base(f"{name}:slim", ["riscv64"])


def test_base_image_may_have_a_single_platform(
    tool: Callable[[str], str], server: RegistryServer, registry: RegistryClient
) -> None:
    tool("oras")
    image = make_image(3)
    registry.push("single", "slim", image)
    base = images.find_base(f"{server.host}/single:slim", ["amd64", "arm64"])
    assert base.images == {"amd64": image.digest}


def test_two_builds_of_one_commit_make_equal_packages_and_charts(tool: Callable[[str], str], tmp_path: Path) -> None:
    tool("helm")
    made: list[dict[str, bytes]] = []
    for name in ("first", "second"):
        source, target, scratch = (tmp_path / name / part for part in ("source", "target", "scratch"))
        for folder in (source, target, scratch):
            folder.mkdir(parents=True)
        export(source)
        paths = [*build_packages(source, target), package_chart(source, COMMIT, scratch, target)]
        made.append({path.name: path.read_bytes() for path in paths})
    version = read_version((REPOSITORY_ROOT / "pyproject.toml").read_text())
    expected = {
        f"sohu_registry-{version}-py3-none-any.whl",
        f"sohu_registry-{version}.tar.gz",
        f"registry-{version}.tgz",
    }
    assert made[0].keys() == expected
    assert [name for name in made[0] if made[0][name] != made[1][name]] == []
