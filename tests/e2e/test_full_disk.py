"""A registry on a full disk: pushes are refused with the cause, and every way to free space works."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from entrypoints.exit_codes import ExitCode
from tests.support.catalogs import wait_until
from tests.support.commands import Completed, run_registry
from tests.support.mounts import fill, small_disk
from tests.support.oci import make_image
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient
from tests.support.tools import REPOSITORY_ROOT

pytestmark = pytest.mark.e2e

IMAGE = make_image(951, layer_sizes=[6_000_000])
OTHER = make_image(952)


@pytest.fixture
def disk(tmp_path: Path, unavailable: Callable[[str], NoReturn]) -> Iterator[Path]:
    with small_disk(unavailable, tmp_path / "disk", "24m"):
        yield tmp_path / "disk"


@contextmanager
def full_registry(tmp_path: Path, disk: Path) -> Iterator[tuple[RegistryServer, RegistryClient]]:
    """A registry with two images on a disk that something else has filled."""
    config = {"health": {"readiness": {"interval": "100ms"}}}
    with RegistryServer(tmp_path / "server", disk / "data", config=config) as server:
        client = RegistryClient(server.host)
        for tag in ("v1", "v2"):
            client.push("team/app", tag, IMAGE)
        client.push("team/other", "v1", OTHER)
        fill(disk / "others")
        yield server, client


def command(server: RegistryServer, *words: str, environment: Mapping[str, str] | None = None) -> Completed:
    return run_registry(*words, str(server.config_path), environment=environment)


def push_is_refused(client: RegistryClient) -> bool:
    answer = client.request("POST", "/v2/team/app/blobs/uploads/")
    return answer.status == 507 and b"the storage is full" in answer.body


def test_full_disk_refuses_pushes_and_serves_pulls(tmp_path: Path, disk: Path) -> None:
    with full_registry(tmp_path, disk) as (_, client):
        wait_until(lambda: push_is_refused(client))
        client.request("GET", "/v2/team/app/manifests/v1").expect(200)
        client.request("DELETE", "/v2/team/app/manifests/v1").expect(202)
        wait_until(lambda: b"[!]storage-space degraded" in client.request("GET", "/readyz").expect(200).body)
        (disk / "others").unlink()
        wait_until(lambda: client.request("GET", "/readyz").body == b"ok")
        client.push("team/app", "v3", IMAGE)


def test_full_disk_is_freed_by_deleting_collecting_and_emptying(tmp_path: Path, disk: Path) -> None:
    with full_registry(tmp_path, disk) as (server, client):
        client.request("DELETE", f"/v2/team/app/manifests/{IMAGE.manifest.digest}").expect(202)
        assert command(server, "repository", "delete", "team/other").returncode == ExitCode.OK
        assert command(server, "verify").returncode == ExitCode.OK
    collected = command(server, "garbage-collect", "--offline")
    assert (collected.returncode, "5.7 MiB" in collected.stdout) == (ExitCode.OK, True), collected
    emptied = command(server, "trash", "empty")
    assert emptied.returncode == ExitCode.OK
    with server:
        wait_until(lambda: not push_is_refused(client))
        client.push("team/app", "v1", OTHER)


def test_full_disk_is_collected_beside_a_server(tmp_path: Path, disk: Path) -> None:
    impatient = {"REGISTRY_STORAGE_MAINTENANCE_GARBAGECOLLECT": "{settletime: 2s, graceperiod: 2s}"}
    with full_registry(tmp_path, disk) as (server, client):
        client.request("DELETE", f"/v2/team/app/manifests/{IMAGE.manifest.digest}").expect(202)
        assert command(server, "garbage-collect", environment=impatient).returncode == ExitCode.OK
        assert command(server, "trash", "empty").returncode == ExitCode.OK


def test_full_disk_is_the_only_cause_that_the_doctor_reports(tmp_path: Path, disk: Path) -> None:
    with full_registry(tmp_path, disk) as (server, _):
        done = command(server, "doctor")
    assert done.returncode == ExitCode.DAMAGE
    remedies = [line for line in done.stdout.splitlines() if "remedy:" in line]
    assert remedies
    assert all("trash empty" in remedy for remedy in remedies), done.stdout


def test_unusable_root_folder_is_reported_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    config = tmp_path / "config.yml"
    config.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tmp_path / 'file'}}}}}\n"
        "http: {addr: '127.0.0.1:0', secret: 0123456789abcdef0123, workers: 2}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "entrypoints.cli", "serve", str(config)],
        cwd=REPOSITORY_ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == ExitCode.STORAGE
    told = [line for line in (done.stdout + done.stderr).splitlines() if "storage.filesystem.rootdirectory" in line]
    assert len(told) == 1, told
