"""`registry export` and `import` beside skopeo, podman, crane, umoci, oras, regctl: each reads what others wrote."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.clients import Crane, Oras, Podman, Regctl, Skopeo, run
from tests.support.commands import run_registry
from tests.support.oci import OCI_INDEX, Image, digest_of, make_artifact, make_image, make_multi_platform_index
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient
from tests.support.tools import REPOSITORY_ROOT

pytestmark = pytest.mark.e2e

MIB = 1024 * 1024


def start_registry(*words: str) -> "subprocess.Popen[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}
    return subprocess.Popen(
        [sys.executable, "-m", "entrypoints.cli", *words, "--keep-priority"],
        cwd=REPOSITORY_ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def registry(*words: str) -> str:
    """Run a command of the registry, which must succeed, and return its output."""
    done = run_registry(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass(frozen=True)
class Served:
    """An image that the running server has as `v1` of a repository of the test's own."""

    image: Image
    repository: str
    config: str
    host: str
    client: RegistryClient


@pytest.fixture
def served(request: pytest.FixtureRequest, server: RegistryServer) -> Served:
    repository = digest_of(request.node.name.encode()).partition(":")[2][:12] + "/image"
    client = RegistryClient(server.host)
    image = make_image(800, layer_sizes=(100_000, 2_000))
    client.push(repository, "v1", image)
    return Served(image, repository, str(server.config_path), server.host, client)


@pytest.fixture(params=["folder", "archive"])
def exported(request: pytest.FixtureRequest, served: Served, tmp_path: Path) -> Path:
    path = tmp_path / ("layout" if request.param == "folder" else "layout.tar")
    assert registry("export", served.config, f"{served.repository}:v1", "-o", str(path)).startswith(
        "exported: 1 image, 4 blobs"
    )
    return path


def transport(path: Path) -> str:
    return "oci-archive" if path.suffix == ".tar" else "oci"


def test_skopeo_reads_what_is_exported(
    tool: Callable[[str], str], exported: Path, served: Served, tmp_path: Path
) -> None:
    tool(Skopeo.program)
    skopeo = Skopeo(tmp_path / "home", served.host)
    source = f"{transport(exported)}:{exported}:v1"
    assert json.loads(skopeo.run("inspect", source))["Digest"] == served.image.digest
    skopeo.run("--insecure-policy", "copy", source, f"dir:{tmp_path / 'copied'}")
    assert (tmp_path / "copied" / "manifest.json").read_bytes() == served.image.manifest.data


def test_podman_reads_what_is_exported(
    tool: Callable[[str], str], exported: Path, served: Served, tmp_path: Path
) -> None:
    tool(Podman.program)
    podman = Podman(tmp_path / "home", served.host)
    loaded = podman.run("pull", "--quiet", f"{transport(exported)}:{exported}:v1").split()[-1]
    assert f"sha256:{loaded.removeprefix('sha256:')}" == served.image.blobs[0].digest


def test_other_clients_read_an_exported_folder(
    tool: Callable[[str], str],
    served: Served,
    tmp_path: Path,
) -> None:
    path = tmp_path / "layout"
    registry("export", served.config, f"{served.repository}:v1", "-o", str(path))
    kinds: tuple[type[Crane | Oras | Regctl], ...] = (Crane, Oras, Regctl)
    for number, kind in enumerate(kinds):
        tool(kind.program)
        client = kind(tmp_path / f"home-{number}", served.host)
        client.push(path, "v1", f"{served.repository}/{client.program}:v1")
        assert served.client.get_manifest(f"{served.repository}/{client.program}", "v1").digest == served.image.digest
    umoci = tool("umoci")
    told = run(umoci, "stat", "--image", f"{path}:v1", "--json", environment=os.environ, folder=tmp_path, timeout=60)
    assert json.loads(told)["history"][0]["layer"]["digest"] == served.image.blobs[1].digest


@pytest.mark.parametrize("kind", [Crane, Oras, Regctl, Skopeo])
def test_layouts_of_other_clients_are_imported(
    tool: Callable[[str], str],
    kind: type[Crane] | type[Oras] | type[Regctl] | type[Skopeo],
    served: Served,
    tmp_path: Path,
) -> None:
    tool(kind.program)
    client = kind(tmp_path / "home", served.host)
    layout = tmp_path / "home" / "pulled"
    if isinstance(client, Skopeo):
        source = f"docker://{client.reference(f'{served.repository}:v1')}"
        client.run("--insecure-policy", "copy", "--src-tls-verify=false", source, f"oci:{layout}:pulled")
    else:
        client.pull(f"{served.repository}:v1")
    told = registry("import", served.config, str(layout), f"{served.repository}/imported:v9")
    assert f"{served.repository}/imported:v9 {served.image.digest}\n" in told
    assert served.image.digest in served.client.pull(f"{served.repository}/imported", "v9")


def test_archive_of_skopeo_is_imported(
    tool: Callable[[str], str],
    served: Served,
    tmp_path: Path,
) -> None:
    tool(Skopeo.program)
    skopeo = Skopeo(tmp_path / "home", served.host)
    source = f"docker://{skopeo.reference(f'{served.repository}:v1')}"
    archive = tmp_path / "image.tar"
    skopeo.run("--insecure-policy", "copy", "--src-tls-verify=false", source, f"oci-archive:{archive}:v3")
    registry("import", served.config, str(archive), f"{served.repository}/imported")
    assert served.image.digest in served.client.pull(f"{served.repository}/imported", "v3")
    skopeo.run("--insecure-policy", "copy", "--src-tls-verify=false", source, f"docker-archive:{tmp_path / 'old.tar'}")
    process = start_registry("import", served.config, str(tmp_path / "old.tar"), served.repository)
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "Traceback" not in err


def test_index_with_its_signature_goes_through_an_archive(served: Served, tmp_path: Path) -> None:
    index = make_multi_platform_index(81)
    served.client.push(served.repository, "latest", index)
    signature = make_artifact(b"signed", artifact_type="a/sig", subject=index.manifest)
    served.client.push(served.repository, "signature", signature)
    archive = tmp_path / "backup.tar"
    registry("export", served.config, served.repository, "-o", str(archive), "--referrers")

    with RegistryServer(tmp_path / "other", tmp_path / "storage") as other:
        registry("import", str(other.config_path), str(archive))
        client = RegistryClient(other.host)
        assert client.catalog() == [served.repository]
        assert client.tags(served.repository) == ["latest", "signature", "v1"]
        assert client.pull(served.repository, "latest") == served.client.pull(served.repository, "latest")
        assert [found["digest"] for found in client.referrers(served.repository, index.digest)] == [signature.digest]
        assert client.get_manifest(served.repository, "latest").media_type == OCI_INDEX


def test_large_layer_is_exported_and_imported_in_bounded_memory(served: Served, tmp_path: Path) -> None:
    image = make_image(82, layer_sizes=(100 * MIB,))
    served.client.push(served.repository, "large", image)
    archive = tmp_path / "large.tar"
    peaks = [peak_memory(start_registry("export", served.config, f"{served.repository}:large", "-o", str(archive)))]
    with RegistryServer(tmp_path / "other", tmp_path / "storage") as other:
        peaks.append(peak_memory(start_registry("import", str(other.config_path), str(archive))))
        assert image.digest in RegistryClient(other.host).pull(served.repository, "large")
    print("peak memory in MiB, export and import:", [peak // MIB for peak in peaks])
    assert max(peaks) < 90 * MIB


def peak_memory(process: "subprocess.Popen[str]") -> int:
    """Wait for a process, which must succeed, and return the most memory that it had, in bytes."""
    peak = 0
    while process.poll() is None:
        if found := re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text()):
            peak = max(peak, int(found[1]) * 1024)
        time.sleep(0.02)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return peak
