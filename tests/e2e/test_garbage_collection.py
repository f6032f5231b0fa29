"""Collection with real servers and clients: it loses nothing, and distribution accepts the result."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.collection_soak import COLLECTING, Soak
from tests.support.commands import run_registry
from tests.support.object_stores import ScsEndpoint
from tests.support.oci import make_artifact, make_image, make_multi_platform_index
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient
from tests.support.tools import REPOSITORY_ROOT

pytestmark = pytest.mark.e2e

SECONDS = 12.0
IMPATIENT = {"REGISTRY_STORAGE_MAINTENANCE_GARBAGECOLLECT": "{settletime: 2s, graceperiod: 2s}"}
CLIENTS = 2


def assert_sound(soak: Soak, servers: list[RegistryServer]) -> None:
    report = soak.run(seconds=SECONDS, clients=CLIENTS)
    assert report.errors == []
    assert report.done["push"] > 0
    logs = "".join(server.log() for server in servers)
    assert "garbage collected" in logs
    assert "Traceback" not in logs


def test_clients_meet_no_error_on_a_folder(tmp_path: Path) -> None:
    """Two replicas, one of which collects."""
    storage = tmp_path / "storage"
    with (
        RegistryServer(tmp_path / "one", storage, environment=COLLECTING) as one,
        RegistryServer(tmp_path / "two", storage, environment=COLLECTING) as two,
    ):
        assert_sound(Soak([one.host, two.host], seed=1), [one, two])


def test_clients_meet_no_error_on_scs(tmp_path: Path) -> None:
    with ScsEndpoint(tmp_path / "scs") as scs:
        environment = {**scs.settings(redirects=False), **COLLECTING}
        with (
            RegistryServer(tmp_path / "one", tmp_path / "unused", environment=environment) as one,
            RegistryServer(tmp_path / "two", tmp_path / "unused", environment=environment) as two,
        ):
            assert_sound(Soak([one.host, two.host], seed=2), [one, two])


def make_store(server: RegistryServer) -> tuple[dict[str, str], list[str]]:
    """Push what stays, by its tag, and what goes, by the digests of its manifests."""
    client = RegistryClient(server.host)
    kept: dict[str, str] = {}
    gone: list[str] = []
    for number in range(4):
        image = make_image(700 + number, layer_sizes=(1_000, 4_000 + number))
        client.push("team/app", f"v{number}", image)
        if number % 2:
            client.request("DELETE", f"/v2/team/app/manifests/{image.digest}").expect(202)
            gone.append(image.digest)
        else:
            kept[f"v{number}"] = image.digest
    index = make_multi_platform_index(71)
    client.push("team/app", "multi", index)
    kept["multi"] = index.digest
    subject = make_image(700, layer_sizes=(1_000, 4_000)).manifest
    signature = make_artifact(b"signature", artifact_type="application/x-signature", subject=subject)
    client.push("team/app", signature.digest, signature)
    orphan = make_artifact(
        b"orphan", artifact_type="application/x-signature", subject=make_image(701, layer_sizes=(1_000, 4_001)).manifest
    )
    client.push("team/app", orphan.digest, orphan)
    gone.append(orphan.digest)
    return kept, gone


def collect(server: RegistryServer, *options: str) -> str:
    done = run_registry("garbage-collect", str(server.config_path), *options, environment=IMPATIENT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def data_files(storage: Path) -> set[str]:
    # A server may remove folders at the same time; os.walk passes over them.
    folders = os.walk(storage / "docker/registry/v2/blobs")
    return {Path(folder).name for folder, _, files in folders if "data" in files}


def test_debians_registry_reads_the_tree_after_a_collection(tool: Callable[[str], str], tmp_path: Path) -> None:
    """And its own collection finds nothing left to do."""
    program = tool("docker-registry")
    storage = tmp_path / "storage"
    with RegistryServer(tmp_path / "ours", storage, environment=IMPATIENT) as server:
        kept, gone = make_store(server)
        before = data_files(storage)
        # Until then the server protects the content that it received.
        time.sleep(3)
        report = json.loads(collect(server, "--grace-period", "2s", "--json"))
        after = data_files(storage)
        assert report["manifests_removed"] == 1
        assert len(before) - len(after) == report["blobs_removed"] > 0
        client = RegistryClient(server.host)
        for tag, digest in kept.items():
            assert digest in client.pull("team/app", tag)
        for digest in gone:
            client.request("GET", f"/v2/team/app/manifests/{digest}").expect(404)
        assert len(client.referrers("team/app", kept["v0"])) == 1
    with RegistryServer.reference(tmp_path / "debian", storage) as debian:
        client = RegistryClient(debian.host)
        assert set(client.tags("team/app")) == set(kept)
        for tag, digest in kept.items():
            assert digest in client.pull("team/app", tag)
        config = debian.config_path
    listed = subprocess.run(
        [program, "garbage-collect", "--dry-run", str(config)], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert "0 blobs and 0 manifests eligible for deletion" in listed


def test_killed_collection_is_resumed(tmp_path: Path) -> None:
    """Killed while it waits for those who push: nothing is lost, and the next one ends its round."""
    storage = tmp_path / "storage"
    with RegistryServer(tmp_path / "ours", storage, environment=IMPATIENT) as server:
        kept, _ = make_store(server)
        time.sleep(3)
        command = [sys.executable, "-m", "entrypoints.cli", "garbage-collect", str(server.config_path)]
        killed = subprocess.Popen(
            [*command, "--grace-period", "2s", "--keep-priority"],
            cwd=REPOSITORY_ROOT,
            env={**server.environment, "REGISTRY_STORAGE_MAINTENANCE_GARBAGECOLLECT": "{settletime: 1h}"},
        )
        rounds = storage / "docker/registry/v2/_control/rounds"
        deadline = time.monotonic() + 60
        while not list(rounds.glob("*/digests")) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert list(rounds.glob("*/digests"))
        killed.kill()
        killed.wait()
        # No server is running, so no wait for its clients is needed.
        report = json.loads(collect(server, "--offline", "--grace-period", "2s", "--json"))
        assert report["blobs_removed"] > 0
        assert not list(rounds.glob("*/digests"))
        client = RegistryClient(server.host)
        for tag, digest in kept.items():
            assert digest in client.pull("team/app", tag)


def test_command_reports_each_repository(tmp_path: Path) -> None:
    with RegistryServer(tmp_path / "ours", tmp_path / "storage") as server:
        make_store(server)
    dry = collect(server, "--offline", "--dry-run")
    assert "team/app: 1 manifest, " in dry
    assert "would be removed: 1 manifest, " in dry
    wet = collect(server, "--offline")
    assert "\nremoved: 1 manifest, " in wet
    assert "`registry trash empty` frees the space now" in wet
    assert collect(server, "--offline", "--quiet") == ""
    untagged = collect(server, "--offline", "--delete-untagged")
    assert "\nremoved: 0 manifests, 0 layer links, 0 other links; 0 blobs, 0 B\n" in untagged


def test_server_collects_on_demand(tmp_path: Path) -> None:
    """Long before its interval is over."""
    environment = {
        "REGISTRY_STORAGE_MAINTENANCE_GARBAGECOLLECT": "{enabled: true, interval: 3s, graceperiod: 2s, settletime: 2s}"
    }
    with RegistryServer(tmp_path / "ours", tmp_path / "storage", environment=environment) as server:
        _, gone = make_store(server)
        done = run_registry("garbage-collect", "--in-server", str(server.config_path), environment=environment)
        assert done.returncode == 0
        assert "within a minute" in done.stdout
        deadline = time.monotonic() + 60
        while gone[-1].partition(":")[2] in data_files(server.storage) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert gone[-1].partition(":")[2] not in data_files(server.storage)
