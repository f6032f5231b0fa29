"""`registry copy` between real registries: Debian's docker-registry as source and target, and a kill on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.commands import run_registry
from tests.support.content import image_manifest
from tests.support.growing_folders import sizes_of_files
from tests.support.oci import (
    OCI_INDEX,
    OCI_MANIFEST,
    Content,
    make_artifact,
    make_image,
    make_multi_platform_index,
)
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient
from tests.support.tools import REPOSITORY_ROOT

pytestmark = pytest.mark.e2e

MIB = 1024 * 1024
NAME = "team/app"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    return tmp_path / "home"


def test_images_and_signatures_go_from_distribution_to_ours_and_back(
    tool: Callable[[str], str], tmp_path: Path
) -> None:
    # Arrange
    tool("docker-registry")
    image = make_image(1)
    signature = make_artifact(b"signature", artifact_type="application/vnd.example", subject=image.manifest)
    fallback = f"sha256-{image.digest.partition(':')[2]}"
    listed = Content(OCI_INDEX, json.dumps({
        "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [signature.manifest.descriptor()],
    }).encode())  # fmt: skip
    ours = RegistryServer(tmp_path / "ours", tmp_path / "ours-storage")
    with (
        RegistryServer.reference(tmp_path / "old", tmp_path / "old-storage") as old,
        RegistryServer.reference(tmp_path / "new", tmp_path / "new-storage") as new,
    ):
        source, target = RegistryClient(old.host), RegistryClient(new.host)
        source.push(NAME, "v1", image)
        source.push(NAME, "multi", make_multi_platform_index(2))
        source.push(NAME, "signature", signature)
        source.push_manifest(NAME, fallback, listed)

        # Act
        words = ("--tags", "v1", "--tags", "multi")
        first = run_registry("copy", "--from", old.url, "--to", str(ours.config_path), *words)
        with ours:
            client = RegistryClient(ours.host)
            referrers = client.referrers(NAME, image.digest)
            client.pull(NAME, "multi")
            second = run_registry("copy", "--from", f"{ours.url}/{NAME}", "--to", new.url)
        again = run_registry("copy", "--from", f"{old.url}/{NAME}", "--to", new.url, *words, "--json")

        # Assert
        assert (first.returncode, second.returncode, again.returncode) == (0, 0, 0), first.stderr + second.stderr
        assert [each["digest"] for each in referrers] == [signature.digest]
        target.pull(NAME, "v1")
        target.pull(NAME, "multi")
        target.get_manifest(NAME, signature.digest)
        entries = json.loads(target.get_manifest(NAME, fallback).data)["manifests"]
        assert [each["digest"] for each in entries] == [signature.digest]
        assert json.loads(again.stdout)["tags_copied"] == 0


def test_a_killed_copy_to_a_url_continues_its_upload(tmp_path: Path, home: Path) -> None:
    # Arrange
    layer = bytes(range(256)) * (128 * MIB // 256)
    source = RegistryServer(tmp_path / "source", tmp_path / "source-storage")
    with source:
        client = RegistryClient(source.host)
        client.push_blob(NAME, b"{}")
        client.push_blob(NAME, layer)
        client.push_manifest(NAME, "v1", Content(OCI_MANIFEST, image_manifest(b"{}", [layer])))
    with RegistryServer(tmp_path / "target", tmp_path / "target-storage") as target:
        words = ["copy", "--from", str(source.config_path), "--to", target.url, "--repository", NAME, "--quiet"]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY_ROOT)}
        killed = subprocess.Popen(
            [sys.executable, "-m", "entrypoints.cli", *words, "--keep-priority", "--bytes-per-second", str(16 * MIB)],
            env=environment,
            start_new_session=True,
        )
        try:
            ends_at = time.monotonic() + 60
            while _staged(target) < 40 * MIB:
                assert time.monotonic() < ends_at, target.log()
                assert killed.poll() is None
                time.sleep(0.02)
        finally:
            os.killpg(killed.pid, signal.SIGKILL)
            killed.wait()

        # Act
        done = run_registry(*words, "--json")

        # Assert
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["bytes_sent"] < 90 * MIB
        RegistryClient(target.host).pull(NAME, "v1")
    assert [path.read_text() for path in home.rglob("copy-*.json")] == ["{}"]


def _staged(target: RegistryServer) -> int:
    return max((size for _, size in sizes_of_files(target.storage)), default=0)
