"""Deleted content is restored, with real servers, clients, stores and kills."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.clients import Crane, Skopeo
from tests.support.commands import run_beside
from tests.support.object_stores import ScsEndpoint
from tests.support.oci import make_artifact, make_multi_platform_index, write_layout
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient
from tests.support.tools import REPOSITORY_ROOT

pytestmark = pytest.mark.e2e

INDEX = make_multi_platform_index(90)
SETTLE = {"REGISTRY_STORAGE_MAINTENANCE_GARBAGECOLLECT_SETTLETIME": "2s"}
SIGNATURE = make_artifact(b"signed", artifact_type="a/signature", subject=INDEX.manifest)
ROOT = "docker/registry/v2"


YOUNG_SECONDS = 2.5


@contextmanager
def registry(kind: str, tmp_path: Path) -> Iterator[RegistryServer]:
    if kind == "filesystem":
        with RegistryServer(tmp_path / "ours", tmp_path / "storage", environment=SETTLE) as server:
            yield server
    else:
        with (
            ScsEndpoint(tmp_path / "scs") as scs,
            RegistryServer(tmp_path / "ours", tmp_path / "unused", environment={**scs.settings(), **SETTLE}) as server,
        ):
            yield server


def start(server: RegistryServer, *words: str) -> "subprocess.Popen[bytes]":
    """Start `registry` beside the server as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "entrypoints.cli", *words, str(server.config_path)],
        cwd=REPOSITORY_ROOT,
        env=server.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def collect(server: RegistryServer) -> None:
    """Move all that no tag leads to into the trash, while the server serves."""
    # It protects the content whose presence it confirmed to clients in the last hours.
    assert server.stop() == 0
    # While servers run, younger content is kept however short the grace period: stores count whole seconds.
    time.sleep(YOUNG_SECONDS)
    server.start()
    collected = run_beside(server, "garbage-collect", "--delete-untagged", "--grace-period=0s", "--quiet")
    assert collected.returncode == 0, collected


def remove(server: RegistryServer) -> None:
    """Delete the tag v1 of team/app, and move its image into the trash."""
    RegistryClient(server.host).request("DELETE", "/v2/team/app/manifests/v1").expect(202)
    collect(server)


def push_signed(client: RegistryClient, repository: str, *tags: str) -> None:
    for tag in tags:
        client.push(repository, tag, INDEX)
    for blob in SIGNATURE.blobs:
        client.push_blob(repository, blob.data)
    client.push_manifest(repository, SIGNATURE.digest, SIGNATURE.manifest)


@pytest.mark.parametrize("kind", ["filesystem", "scs"])
def test_tag_deleted_by_mistake_comes_back_after_its_collection(
    kind: str, tool: Callable[[str], str], tmp_path: Path
) -> None:
    tool(Crane.program)
    tool(Skopeo.program)
    layout = write_layout(tmp_path / "layout", INDEX, "v1")
    with registry(kind, tmp_path) as server:
        client = RegistryClient(server.host)
        Crane(tmp_path / "first", server.host).push(layout, "v1", "team/app:v1")
        push_signed(client, "team/app", "other")
        client.request("DELETE", "/v2/team/app/manifests/other").expect(202)
        before = client.pull("team/app", "v1")

        crane = Crane(tmp_path / "second", server.host)
        crane.run("delete", crane.reference("team/app:v1"))
        collect(server)
        client.request("GET", "/v2/team/app/manifests/v1").expect(404)

        listed = [json.loads(line) for line in run_beside(server, "trash", "list", "--json").stdout.splitlines()]
        assert [entry["kind"] for entry in listed] == ["tag", "tag", "collection"]
        restored = run_beside(server, "trash", "restore", "team/app:v1")
        assert (restored.returncode, restored.stdout) == (0, f"restored team/app:v1 at {INDEX.digest}\n"), restored
        assert client.pull("team/app", "v1") == before
        assert [entry["digest"] for entry in client.referrers("team/app", INDEX.digest)] == [SIGNATURE.digest]
        assert Skopeo(tmp_path / "third", server.host).pull("team/app:v1")
        assert client.catalog() == ["team/app"]


def test_restoring_survives_kills(tmp_path: Path) -> None:
    """The command is killed again and again, each time a little later, until it ends by itself."""
    with registry("filesystem", tmp_path) as server:
        client = RegistryClient(server.host)
        push_signed(client, "team/app", "v1")
        before = client.pull("team/app", "v1")
        remove(server)
        # A command of the same kind shows when a restoration begins, so that few kills come before its first request.
        began = time.monotonic()
        assert start(server, "trash", "list").wait(60) == 0
        start_seconds = time.monotonic() - began
        delay, kills = 0.7 * start_seconds, 0
        while True:
            process = start(server, "trash", "restore", "team/app:v1")
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            if process.wait() != -signal.SIGKILL:
                if kills:
                    break
                # The machine was slower when the start was measured.
                remove(server)
                delay /= 2
                continue
            kills += 1
            delay += start_seconds / 10
            # A tag that is listed can be pulled, whatever the kill left undone.
            if client.catalog() and "v1" in client.tags("team/app"):
                assert client.pull("team/app", "v1") == before
        assert client.pull("team/app", "v1") == before
        assert [entry["digest"] for entry in client.referrers("team/app", INDEX.digest)] == [SIGNATURE.digest]


def test_repository_is_deleted_over_http_and_comes_back(tmp_path: Path) -> None:
    with registry("filesystem", tmp_path) as server:
        client = RegistryClient(server.host)
        push_signed(client, "team/app", "v1", "v2")
        client.push("team/other", "v1", INDEX)
        before = client.pull("team/app", "v1")
        removal = json.loads(client.request("DELETE", "/v2/team/app/_sohu/registry/repository").expect(200).body)
        assert (removal["tags"], removal["manifests"]) == (2, len(INDEX.images) + 2)
        client.request("GET", f"/v2/team/app/manifests/{INDEX.digest}").expect(404)
        collect(server)
        assert client.tags("team/app") == []
        assert INDEX.digest in client.pull("team/other", "v1")
        restored = run_beside(server, "trash", "restore", removal["trash"])
        assert restored.returncode == 0, restored
        assert client.tags("team/app") == ["v1", "v2"]
        assert client.pull("team/app", "v2") == before
        assert client.catalog() == ["team/app", "team/other"]


def test_server_removes_expired_trash(tmp_path: Path) -> None:
    config = {"storage": {"trash": {"keep": "1s"}}}
    with RegistryServer(tmp_path / "ours", tmp_path / "storage", config=config) as server:
        client = RegistryClient(server.host)
        client.push("team/app", "v1", INDEX)
        client.request("DELETE", "/v2/team/app/manifests/v1").expect(202)
        entries = tmp_path / "storage" / ROOT / "_trash" / "entries"
        assert list(entries.iterdir())
        deadline = time.monotonic() + 60
        while entries.exists() and list(entries.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not entries.exists() or not list(entries.iterdir())
        # The server removes the entry before it writes the line.
        while "expired trash removed" not in server.log():
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_debians_registry_reads_what_was_restored(tool: Callable[[str], str], tmp_path: Path) -> None:
    tool("docker-registry")
    with registry("filesystem", tmp_path) as server:
        client = RegistryClient(server.host)
        push_signed(client, "team/app", "v1")
        before = client.pull("team/app", "v1")
        client.request("DELETE", "/v2/team/app/manifests/v1").expect(202)
        collect(server)
        assert run_beside(server, "trash", "restore", "team/app:v1").returncode == 0
    with RegistryServer.reference(tmp_path / "reference", tmp_path / "storage") as reference:
        theirs = RegistryClient(reference.host)
        assert theirs.pull("team/app", "v1") == before
        assert theirs.catalog() == ["team/app"]
