"""`registry copy` between a folder, SCS and S3, beside serving registries, killed in the middle, with large blobs."""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import Skopeo
from tests.support.commands import run_registry
from tests.support.mariadb import Database
from tests.support.object_stores import BUCKET, ScsEndpoint, s3_environment
from tests.support.oci import digest_of, make_artifact, make_image, make_multi_platform_index
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient
from tests.support.s3_servers import versitygw_endpoint
from tests.support.tools import REPOSITORY_ROOT

pytestmark = pytest.mark.e2e

MIB = 1024 * 1024
LARGE = 512 * MIB
"""More than the memory that a copy may use."""
TREE = "docker/registry/v2"


@pytest.fixture
def scs(tmp_path: Path) -> Iterator[ScsEndpoint]:
    with ScsEndpoint(tmp_path / "scs") as endpoint:
        yield endpoint


@pytest.fixture
def s3(tool: Callable[[str], str], tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "s3"
    folder.mkdir()
    with versitygw_endpoint(tool("versitygw"), BUCKET, folder) as url:
        yield url


def config_file(path: Path, storage: Mapping[str, Any]) -> Path:
    path.write_text(json.dumps({"version": 0.1, "storage": storage}))
    return path


def of_environment(environment: Mapping[str, str]) -> Mapping[str, Any]:
    """The storage section that a server is given by its environment."""
    section: Mapping[str, Any] = json.loads(environment["REGISTRY_STORAGE"])
    return section


def of_folder(folder: Path) -> Mapping[str, Any]:
    return {"filesystem": {"rootdirectory": str(folder)}}


def start_copy(source: Path, target: Path, *options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "entrypoints.cli", "copy", "--from", str(source), "--to", str(target)]
    command += ["--keep-priority", *options]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}
    return subprocess.Popen(
        command, cwd=REPOSITORY_ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def copy(source: Path, target: Path, *options: str) -> dict[str, Any]:
    """Make one pass, which must succeed, and return its report."""
    done = run_registry("copy", "--from", str(source), "--to", str(target), "--json", *options)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def tree(folder: Path) -> dict[str, str]:
    """The hash of each file that distribution knows, without upload sessions."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for part in ("blobs", "repositories")
        for path in (folder / TREE / part).rglob("*")
        if path.is_file() and "/_uploads/" not in str(path)
    }


def fill(client: RegistryClient) -> None:
    """Push all kinds of content: images of both formats, indexes, a signature, shared layers, tags with a history."""
    for number, docker in enumerate([False, True]):
        client.push(f"team/app{number}", "v1", make_image(600 + number, layer_sizes=(300_000, 2_000), docker=docker))
        client.push(f"team/app{number}", "v1", make_image(610 + number, docker=docker))
        client.push(f"team/app{number}/multi", "latest", make_multi_platform_index(620 + number, docker=docker))
    image = make_image(600, layer_sizes=(300_000, 2_000))
    client.push("team-b", "v1", image)
    client.push("team-b", "signature", make_artifact(b"signed", artifact_type="a/b", subject=image.manifest))
    client.push("large", "v1", make_image(630, layer_sizes=(30 * MIB,)))


def store_schema1(folder: Path, name: str) -> None:
    """Lay down a schema 1 manifest with its signature, as registries of 2015 did."""
    payload = json.dumps({"schemaVersion": 1, "name": name, "fsLayers": []}, indent=3).encode()
    digest, signature = digest_of(payload), digest_of(b"{}signature")
    for data in (payload, b"{}signature"):
        encoded = digest_of(data).partition(":")[2]
        path = folder / TREE / "blobs/sha256" / encoded[:2] / encoded / "data"
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
    revision = f"_manifests/revisions/{digest.replace(':', '/')}"
    links = {
        f"{revision}/link": digest,
        f"{revision}/signatures/{signature.replace(':', '/')}/link": signature,
        "_manifests/tags/old/current/link": digest,
        f"_manifests/tags/old/index/{digest.replace(':', '/')}/link": digest,
    }
    for key, content in links.items():
        path = folder / TREE / "repositories" / name / key
        path.parent.mkdir(parents=True)
        path.write_text(content)


def test_folder_to_scs_to_s3_to_folder_is_the_same_tree(
    tool: Callable[[str], str], scs: ScsEndpoint, s3: str, tmp_path: Path
) -> None:
    first = config_file(tmp_path / "first.yml", of_folder(tmp_path / "first"))
    second = config_file(tmp_path / "second.yml", of_environment(scs.settings()))
    third = config_file(tmp_path / "third.yml", of_environment(s3_environment(s3)))
    last = config_file(tmp_path / "last.yml", of_folder(tmp_path / "last"))
    store_schema1(tmp_path / "first", "old/image")
    with RegistryServer(tmp_path / "source", tmp_path / "first") as source:
        fill(RegistryClient(source.host))
        copy(first, second)
        # The source is served all the time, and goes on changing.
        client = RegistryClient(source.host)
        client.push("team/app0", "v2", make_image(640))
        client.delete_manifest("team-b", make_image(600, layer_sizes=(300_000, 2_000)).digest)
        client.request("DELETE", "/v2/large/manifests/v1").expect(202)
        delta = copy(first, second, "--delete")
        assert (delta["blobs_sent"], delta["manifests_copied"], delta["tags_copied"]) == (3, 1, 1)
        assert delta["deleted"] > 0
        assert copy(first, second, "--delete")["deleted"] == 0

    copy(second, third)
    copy(third, last)

    assert tree(tmp_path / "last") == tree(tmp_path / "first")
    pulled = make_image(640)
    with RegistryServer(tmp_path / "ours", tmp_path / "last") as ours:
        Skopeo(tmp_path / "home", ours.host).pull("team/app0:v2")
    with RegistryServer.reference(tmp_path / "reference", tmp_path / "last") as reference:
        assert pulled.digest in RegistryClient(reference.host).pull("team/app0", "v2")
        Skopeo(tmp_path / "other", reference.host).pull("team/app1/multi:latest")


def test_copy_completes_after_several_kills(tool: Callable[[str], str], scs: ScsEndpoint, tmp_path: Path) -> None:
    """The source is filled by Debian's docker-registry, which serves it all the time."""
    tool("docker-registry")
    first = config_file(tmp_path / "first.yml", of_folder(tmp_path / "first"))
    second = config_file(tmp_path / "second.yml", of_environment(scs.settings()))
    back = config_file(tmp_path / "back.yml", of_folder(tmp_path / "back"))
    with RegistryServer.reference(tmp_path / "source", tmp_path / "first") as source:
        for number in range(20):
            RegistryClient(source.host).push(f"app{number}", "v1", make_image(700 + number))
        kill_copies(first, second, scs, tmp_path / "target")
        RegistryClient(source.host).push("app0", "v2", make_image(690))
        copy(first, second)
    copy(second, back)
    assert tree(tmp_path / "back") == tree(tmp_path / "first")


def kill_copies(source: Path, target: Path, scs: ScsEndpoint, folder: Path) -> None:
    """Kill copies after some writes each, and check after each kill that every tag of the target can be pulled."""
    with RegistryServer(folder, folder / "unused", environment=scs.settings()) as server:
        client = RegistryClient(server.host)
        for writes in (5, 11, 23):
            before = len(puts(scs))
            process = start_copy(source, target, "--requests-per-second", "60")
            wait_until(partial(has_written, scs, before + writes))
            assert process.poll() is None
            process.kill()
            process.communicate(timeout=60)
            for name in client.catalog():
                for tag in client.tags(name):
                    client.pull(name, tag)


def peak_memory(process: "subprocess.Popen[str]") -> int:
    """Wait for the end of a process and return the most memory that it had, in bytes."""
    peak = 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            break
        if found := re.search(r"VmHWM:\s+(\d+) kB", status):
            peak = max(peak, int(found[1]) * 1024)
        time.sleep(0.05)
    return peak


def test_large_blob_is_copied_in_bounded_memory_and_resumed_after_a_kill(scs: ScsEndpoint, tmp_path: Path) -> None:
    first = config_file(tmp_path / "first.yml", of_folder(tmp_path / "first"))
    second = config_file(tmp_path / "second.yml", of_environment(scs.settings()))
    digest = store_large_blob(tmp_path / "first", "large", LARGE)

    process = start_copy(first, second, "--bytes-per-second", str(50 * MIB))
    # The first record shows that the upload has begun, the second how far it is.
    wait_until(lambda: sum("_transfers" in line and ".parts" in line for line in puts(scs)) > 1)
    assert process.poll() is None
    process.kill()
    process.communicate(timeout=60)

    process = start_copy(first, second, "--json")
    peak = peak_memory(process)
    report = json.loads(process.communicate(timeout=100)[0])
    print(f"peak memory {peak / MIB:.0f} MiB, {report['bytes_sent'] / MIB:.0f} MiB sent after the kill")
    assert process.returncode == 0
    assert peak < 300 * MIB
    assert report["bytes_sent"] <= LARGE * 3 // 4
    with RegistryServer(tmp_path / "target", tmp_path / "unused", environment=scs.settings()) as target:
        head = RegistryClient(target.host).request("HEAD", f"/v2/large/blobs/{digest}").expect(200)
        assert head.headers["Content-Length"] == str(LARGE)


def has_written(scs: ScsEndpoint, count: int) -> bool:
    return len(puts(scs)) >= count


def puts(scs: ScsEndpoint) -> list[str]:
    return [line for line in scs.requests if " PUT " in line]


def store_large_blob(folder: Path, name: str, size: int) -> str:
    """Lay down a blob that a repository links."""
    staged = folder / "staged"
    folder.mkdir()
    hasher = hashlib.sha256()
    with staged.open("wb") as file:
        for number in range(size // MIB):
            piece = number.to_bytes(4, "big") * (MIB // 4)
            hasher.update(piece)
            file.write(piece)
    encoded = hasher.hexdigest()
    data = folder / TREE / "blobs/sha256" / encoded[:2] / encoded / "data"
    link = folder / TREE / "repositories" / name / "_layers/sha256" / encoded / "link"
    for path in (data, link):
        path.parent.mkdir(parents=True)
    staged.rename(data)
    link.write_text(f"sha256:{encoded}")
    return f"sha256:{encoded}"


def test_watching_copy_follows_a_serving_source_to_a_serving_target(scs: ScsEndpoint, tmp_path: Path) -> None:
    first = config_file(tmp_path / "first.yml", of_folder(tmp_path / "first"))
    second = config_file(tmp_path / "second.yml", of_environment(scs.settings()))
    with (
        RegistryServer(tmp_path / "source", tmp_path / "first") as source,
        RegistryServer(tmp_path / "target", tmp_path / "unused", environment=scs.settings()) as target,
    ):
        pusher, puller = RegistryClient(source.host), RegistryClient(target.host)
        pusher.push("team/app", "v0", make_image(900))
        process = start_copy(first, second, "--watch", "0.2", "--delete", "--json")
        try:
            for number in range(1, 8):
                pusher.push("team/app", f"v{number}", make_image(900 + number))
                pusher.push("team/app", "latest", make_image(900 + number))
                wait_until(partial(is_listed, puller, f"v{number}"))
                pusher.request("DELETE", f"/v2/team/app/manifests/v{number - 1}").expect(202)
                puller.pull("team/app", "latest")
            wait_until(lambda: tags_of(puller, "team/app") == ["latest", "v7"])
            assert make_image(907).digest in puller.pull("team/app", "latest")
        finally:
            process.terminate()
            out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    reports = [json.loads(line) for line in out.splitlines()]
    assert sum(report["problems"] for report in reports) == 0
    assert sum(report["deleted"] for report in reports) >= 7


def is_listed(client: RegistryClient, tag: str) -> bool:
    return tag in tags_of(client, "team/app")


def tags_of(client: RegistryClient, repository: str) -> list[str]:
    return client.tags(repository) if repository in client.catalog() else []


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_catalog_in_mysql_is_updated_only_where_needed(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = config_file(tmp_path / "first.yml", of_folder(tmp_path / "first"))
    second = config_file(tmp_path / "second.yml", of_folder(tmp_path / "second"))
    monkeypatch.setenv("SEARCH_BACKEND", "MYSQL")
    monkeypatch.setenv("SEARCH_BACKEND_MYSQL", database.dsn)
    with RegistryServer(tmp_path / "source", tmp_path / "first", environment={"SEARCH_BACKEND": ""}) as source:
        client = RegistryClient(source.host)
        for name in ("team/app", "team/other"):
            client.push(name, "v1", make_image(950))
        copy(first, second, "--env", "to")
        database.sql("UPDATE repositories SET createTime = 5")
        client.push("team/app", "v2", make_image(951))
        client.delete_manifest("team/other", make_image(950).digest)
        copy(first, second, "--env", "to")
        assert database.sql("SELECT createTime FROM repositories WHERE name = 'team/other'") == [(5,)]
        copy(first, second, "--env", "to", "--delete")
    assert [name for (name,) in database.sql("SELECT name FROM repositories WHERE createTime > 5")] == ["team/app"]
    assert len(database.sql("SELECT name FROM repositories")) == 1
