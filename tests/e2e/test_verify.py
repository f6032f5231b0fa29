"""`registry verify` beside a running server: damaged files, affected images, and repair by real pushes."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from adapters.blob_storage.scs import ScsOptions
from adapters.blob_storage.scs.storage import ScsBlobStorage
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.model.secret import Secret
from core.store import layout
from entrypoints.exit_codes import ExitCode
from tests.support.clients import CommandLineClient, Crane, Skopeo
from tests.support.commands import run_registry
from tests.support.object_stores import BUCKET, ScsEndpoint
from tests.support.oci import make_artifact, make_image, make_multi_platform_index, write_layout
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient
from tests.support.tools import REPOSITORY_ROOT

pytestmark = pytest.mark.e2e

NAME = RepositoryName("team/app")
IMAGE = make_image(900, layer_sizes=(20_000, 3_000_000))
NewClient = Callable[[type[CommandLineClient]], CommandLineClient]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RegistryServer]:
    with RegistryServer(tmp_path, tmp_path / "storage") as running:
        yield running


def words(server: RegistryServer, *options: str) -> list[str]:
    return ["verify", str(server.config_path), "--json", "--quiet", *options]


def verify(server: RegistryServer, *options: str) -> tuple[int, list[dict[str, Any]]]:
    """Verify the server's storage, and return the exit code and the output."""
    done = run_registry(*words(server, *options), environment=server.environment)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def kinds(printed: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(line["kind"], line["outcome"]) for line in printed if line["type"] == "finding"}


async def damage_in_scs(endpoint: ScsEndpoint, key: str) -> None:
    options = ScsOptions(
        access_key="key", secret_key=Secret("secret"), region="bjcnc", bucket=BUCKET, endpoint=endpoint.url
    )
    async with ScsBlobStorage(options) as storage:
        await storage.write(key, b"damaged")


def path_of(server: RegistryServer, key: str) -> Path:
    return server.storage / key.lstrip("/")


@pytest.mark.parametrize("kind", [Crane, Skopeo], ids=lambda kind: kind.program)
def test_push_replaces_quarantined_content(
    kind: type[CommandLineClient], server: RegistryServer, tool: Callable[[str], str], tmp_path: Path
) -> None:
    tool(kind.program)
    content = write_layout(tmp_path / "layout", IMAGE, "v1")
    kind(tmp_path / "pusher", server.host).push(content, "v1", f"{NAME}:v1")
    assert verify(server) == (ExitCode.OK, [summary(blobs=4, manifests=1)])
    big = Digest(IMAGE.blobs[2].digest)
    damaged = path_of(server, layout.blob_data(big))
    with damaged.open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"bit rot")

    code, printed = verify(server)
    assert (code, kinds(printed)) == (ExitCode.DAMAGE, {("corrupt-data", "found"), ("blob-lost", "found")})
    assert printed[-1]["images"] == {big: [f"{NAME}:v1", f"{NAME}@{IMAGE.digest}"]}

    code, printed = verify(server, "--repair")
    outcomes = {("corrupt-data", "quarantined"), ("blob-lost", "needs-push")}
    assert (code, kinds(printed)) == (ExitCode.DAMAGE, outcomes)
    RegistryClient(server.host).request("HEAD", f"/v2/{NAME}/blobs/{big}").expect(404)

    kind(tmp_path / "again", server.host).push(content, "v1", f"{NAME}:v1")
    assert kind(tmp_path / "puller", server.host).pull(f"{NAME}:v1") == IMAGE.blobs[0].digest
    assert verify(server)[0] == ExitCode.OK


def test_broken_links_are_repaired(server: RegistryServer) -> None:
    client = RegistryClient(server.host)
    index = make_multi_platform_index(901)
    signature = make_artifact(b"signed", artifact_type="application/x.signature", subject=index.manifest)
    client.push(NAME, "multi", index)
    client.push(NAME, "signature", signature)
    subject = Digest(index.digest)
    path_of(server, layout.layer_link(NAME, Digest(index.images[0].blobs[0].digest))).write_bytes(b"")
    path_of(server, layout.referrer_link(NAME, subject, Digest(signature.digest))).unlink()
    path_of(server, layout.tag_current_link(NAME, Tag("multi"))).write_bytes(b"sha256:torn")

    code, printed = verify(server, "--repair")

    assert kinds(printed) == {("broken-link", "rebuilt"), ("referrer-unlisted", "rebuilt")}
    assert code == ExitCode.REPAIRED
    assert index.digest in client.pull(NAME, "multi")
    assert [entry["digest"] for entry in client.referrers(NAME, index.digest)] == [signature.digest]
    assert verify(server)[0] == ExitCode.OK


def test_killed_verification_is_resumed(server: RegistryServer) -> None:
    client = RegistryClient(server.host)
    images = [make_image(seed, layer_sizes=(200_000, 200_000)) for seed in range(910, 930)]
    for number, image in enumerate(images):
        client.push(NAME, f"v{number}", image)
    blobs = sorted(blob.digest for image in images for blob in image.blobs)
    # Among the first, so that it is found before the kill.
    broken = Digest(blobs[1])
    path_of(server, layout.blob_data(broken)).write_bytes(b"damaged")

    slow = ("--bytes-per-second", "1000000", "--keep-priority")
    command = [sys.executable, "-m", "entrypoints.cli", *words(server, *slow)]
    process = subprocess.Popen(command, cwd=REPOSITORY_ROOT, stdout=subprocess.PIPE, text=True)
    try:
        checkpoint = path_of(server, layout.verification_checkpoint("full"))
        deadline = time.monotonic() + 60
        while not (checkpoint.exists() and json.loads(checkpoint.read_bytes())["damage"] == 1):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        first = [json.loads(line) for line in process.communicate(timeout=60)[0].splitlines()]
    read_before = json.loads(checkpoint.read_bytes())["blobs"]
    assert 0 < read_before < len(blobs)
    assert all(line["type"] == "finding" for line in first)

    code, printed = verify(server)

    assert code == ExitCode.DAMAGE
    assert {line["digest"] for line in printed if line["type"] == "finding"} == {broken}
    assert printed[-1]["blobs"] == len({*blobs, *(image.digest for image in images)})
    assert json.loads(checkpoint.read_bytes())["is_complete"]


def test_tree_of_debians_registry_is_verified_and_repaired(tool: Callable[[str], str], tmp_path: Path) -> None:
    tool("docker-registry")
    storage = tmp_path / "storage"
    with RegistryServer.reference(tmp_path / "reference", storage) as reference:
        client = RegistryClient(reference.host)
        client.push(NAME, "v1", IMAGE)
        client.push(NAME, "gone", make_image(931))
        # Distribution deletes a manifest and leaves its tags.
        client.delete_manifest(NAME, make_image(931).digest)
        code, printed = verify(reference)
        assert code == ExitCode.OK or kinds(printed) == {("tag-without-manifest", "found")}
        verify(reference, "--repair")
        path_of(reference, layout.blob_data(Digest(IMAGE.blobs[1].digest))).write_bytes(b"damaged")
        code, printed = verify(reference, "--repair")
        assert (code, kinds(printed)) == (
            ExitCode.DAMAGE,
            {("corrupt-data", "quarantined"), ("blob-lost", "needs-push")},
        )
        client.push(NAME, "v1", IMAGE)
        assert client.pull(NAME, "v1")[IMAGE.digest] == IMAGE.manifest.data
        assert verify(reference)[0] == ExitCode.OK


def summary(*, blobs: int, manifests: int) -> dict[str, Any]:
    size = sum(len(content.data) for content in (*IMAGE.blobs, IMAGE.manifest))
    numbers = {"blobs": blobs, "bytes": size, "repositories": 1, "manifests": manifests}
    return {"type": "summary", **numbers, "damage": 0, "left": 0, "notes": 0, "images": {}}


def test_server_verifies_and_forgets_quarantined_blobs(tmp_path: Path) -> None:
    config = {
        "storage": {
            "cache": {"blobdescriptor": "inmemory"},
            "maintenance": {"verify": {"enabled": True, "interval": "1s", "repair": True}},
        }
    }
    with RegistryServer(tmp_path, tmp_path / "storage", config=config) as server:
        client = RegistryClient(server.host)
        client.push(NAME, "v1", IMAGE)
        digest = IMAGE.blobs[1].digest
        target = f"/v2/{NAME}/blobs/{digest}"
        client.request("HEAD", target).expect(200)
        path_of(server, layout.blob_data(Digest(digest))).write_bytes(b"damaged")

        # A server learns of removed content within half a minute.
        deadline = time.monotonic() + 60
        while client.request("HEAD", target).status != 404:
            assert time.monotonic() < deadline, server.log()
            time.sleep(0.5)

        assert "verification: corrupt-data" in server.log()
        client.push(NAME, "v1", IMAGE)
        assert client.pull(NAME, "v1")[digest] == IMAGE.blobs[1].data


def test_damage_in_scs_is_found_and_repaired_by_a_push(tool: Callable[[str], str], tmp_path: Path) -> None:
    tool("skopeo")
    with ScsEndpoint(tmp_path / "scs") as endpoint:
        section = json.loads(endpoint.settings(redirects=False)["REGISTRY_STORAGE"])
        # No server remembers the content then, and the repair does not wait for their caches.
        del section["cache"]
        environment = {"REGISTRY_STORAGE": json.dumps(section)}
        with RegistryServer(tmp_path / "ours", tmp_path / "unused", environment=environment) as server:
            content = write_layout(tmp_path / "layout", IMAGE, "v1")
            Skopeo(tmp_path / "pusher", server.host).push(content, "v1", f"{NAME}:v1")
            before = len(endpoint.requests)
            assert verify(server)[0] == ExitCode.OK
            requests = endpoint.requests[before:]
            assert len(requests) < 60, requests
            asyncio.run(damage_in_scs(endpoint, layout.blob_data(Digest(IMAGE.blobs[1].digest))))

            code, printed = verify(server, "--repair")

            outcomes = {("corrupt-data", "quarantined"), ("blob-lost", "needs-push")}
            assert (code, kinds(printed)) == (ExitCode.DAMAGE, outcomes)
            Skopeo(tmp_path / "again", server.host).push(content, "v1", f"{NAME}:v1")
            assert Skopeo(tmp_path / "puller", server.host).pull(f"{NAME}:v1") == IMAGE.blobs[0].digest
            assert verify(server)[0] == ExitCode.OK


def keep_busy(client: RegistryClient, repository: str, ends: threading.Event) -> None:
    """Push, pull and delete; the same layers come again and again, in all repositories."""
    turn = 0
    while not ends.is_set():
        tag = f"v{turn % 3}"
        image = make_image(940 + turn % 4, layer_sizes=(2_000, 70_000))
        signature = make_artifact(b"%d" % turn, artifact_type="application/x", subject=image.manifest)
        client.push(repository, tag, image)
        client.push(repository, signature.digest, signature)
        assert image.digest in client.pull(repository, tag)
        if turn % 2:
            client.delete_manifest(repository, tag)
            client.delete_manifest(repository, signature.digest)
        if turn % 5 == 4:
            client.delete_manifest(repository, image.digest)
        turn += 1


def test_verification_and_repair_beside_pushes_and_deletes(server: RegistryServer) -> None:
    """No content that is pushed or deleted during the run counts as damage, and no client gets an error."""
    ends = threading.Event()
    with ThreadPoolExecutor(3) as threads:
        work = [threads.submit(keep_busy, RegistryClient(server.host), f"busy/{number}", ends) for number in range(3)]
        try:
            found = [line for _ in range(4) for line in verify(server, "--repair")[1]]
        finally:
            ends.set()
        for each in work:
            each.result(timeout=60)
    assert [line for line in found if line["type"] == "finding" and line["damage"]] == []
    assert verify(server)[0] == ExitCode.OK
