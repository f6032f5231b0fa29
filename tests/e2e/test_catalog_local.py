"""The catalog in a file that is mounted from a host: written in place, by several processes at once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from random import Random

import pytest

from tests.support.catalogs import (
    DEGRADED,
    assert_said_once,
    catalog_when_back,
    make_repositories,
    pages,
    push,
    registries,
    wait_until,
)
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient

pytestmark = pytest.mark.e2e


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """An empty file in a folder that must not be written, as under a bind mount."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    path = folder / "repositories"
    path.touch()
    inode = path.stat().st_ino
    folder.chmod(0o555)
    yield path
    folder.chmod(0o755)
    # Root may write the folder all the same, so look: the file is the same one, and alone.
    assert list(folder.iterdir()) == [path]
    assert path.stat().st_ino == inode


def local(path: Path) -> dict[str, str]:
    return {"SEARCH_BACKEND": "LOCAL", "REGISTRY_CATALOG_LOCAL_PATH": str(path)}


def test_start_fills_the_file_from_storage(tmp_path: Path, file: Path) -> None:
    """Also one that ends in a half line, whose head is another name."""
    make_repositories(tmp_path / "storage", ["a", "a-b", "a.b", "a/b", "library/redis"])
    file.write_bytes(b"ghost\na/b\nlibrary/red")
    with registries(tmp_path, local(file)) as [server]:
        assert file.read_bytes() == b"a\na-b\na.b\na/b\nlibrary/redis\n"
        assert list(pages(RegistryClient(server.host), "/v2/_catalog?n=2")) == [
            ["a", "a-b"],
            ["a.b", "a/b"],
            ["library/redis"],
        ]


def test_push_and_last_deletion_are_in_the_file_when_answered(tmp_path: Path, file: Path) -> None:
    with registries(tmp_path, local(file)) as [server]:
        client = RegistryClient(server.host)
        push(client, "b", "a", "b")
        assert file.read_bytes() == b"b\na\n"
        client.delete_manifest("b", client.get_manifest("b", "v1").digest)
        assert file.read_bytes() == b"a\n"
        assert client.catalog() == ["a"]


def test_half_line_of_another_program_does_not_swallow_the_next_push(tmp_path: Path, file: Path) -> None:
    with registries(tmp_path, local(file)) as [server]:
        client = RegistryClient(server.host)
        push(client, "a")
        with file.open("ab") as other:
            other.write(b"library/red")
        push(client, "b")
        assert file.read_bytes() == b"a\nb\n"
        assert client.catalog() == ["a", "b"]


def test_processes_that_push_at_once_write_each_name_once(tmp_path: Path, file: Path) -> None:
    names = [f"team/app-{number}" for number in range(15)]
    with registries(tmp_path, local(file), count=3) as servers, ThreadPoolExecutor(6) as pool:
        pushes = [
            pool.submit(push, RegistryClient(server.host), *Random(number).sample(names, len(names)))
            for number, server in enumerate(servers * 2)
        ]
        for done in pushes:
            done.result()
        assert sorted(file.read_text("ascii").splitlines()) == sorted(names)
        for server in servers:
            assert RegistryClient(server.host).catalog() == sorted(names)


def test_killed_server_leaves_every_answered_name_once(tmp_path: Path, file: Path) -> None:
    answered: list[str] = []

    def push_until_killed(server: RegistryServer, team: int) -> None:
        try:
            for number in range(10_000):
                push(RegistryClient(server.host), f"team-{team}/app-{number}")
                answered.append(f"team-{team}/app-{number}")
        except (OSError, HTTPException):
            return

    with RegistryServer(tmp_path, tmp_path / "storage", environment=local(file)) as server:
        with ThreadPoolExecutor(3) as pool:
            pushers = [pool.submit(push_until_killed, server, team) for team in range(3)]
            try:
                wait_until(lambda: len(answered) > 20)
            finally:
                server.kill()
        for pusher in pushers:
            pusher.result()
        lines = file.read_text("ascii").splitlines()
        assert set(lines) >= set(answered)
        assert len(lines) == len(set(lines))
        server.start()
        assert set(RegistryClient(server.host).catalog()) >= set(answered)


def test_missing_file_is_created_and_logged(tmp_path: Path) -> None:
    make_repositories(tmp_path / "storage", ["a"])
    path = tmp_path / "repositories"
    with registries(tmp_path, local(path)) as [server]:
        assert_said_once(server, f"catalog file {path} was missing and was created")
        assert path.read_bytes() == b"a\n"


def test_folder_in_place_of_the_file_is_logged_with_the_remedy_and_recovers(tmp_path: Path) -> None:
    """Docker makes a folder when the file to mount is missing on the host."""
    make_repositories(tmp_path / "storage", ["a"])
    path = tmp_path / "repositories"
    path.mkdir()
    with registries(tmp_path, local(path)) as [server]:
        client = RegistryClient(server.host)
        line, *_ = [line for line in server.log().splitlines() if DEGRADED in line]
        assert f"the catalog file {path} cannot be used: it is a folder" in line
        assert "remove the folder and create an empty file with touch" in line
        push(client, "b")
        refused = client.request("GET", "/v2/_catalog").expect(503)
        assert b'"UNAVAILABLE"' in refused.body
        assert refused.header("Retry-After") == "5"
        path.rmdir()
        path.touch()
        wait_until(lambda: path.read_bytes() == b"a\nb\n")
        assert catalog_when_back(client) == ["a", "b"]
        assert_said_once(server, DEGRADED)


def test_deleted_file_is_created_and_filled_again(tmp_path: Path) -> None:
    path = tmp_path / "repositories"
    with registries(tmp_path, local(path)) as [server]:
        client = RegistryClient(server.host)
        push(client, "a")
        path.unlink()
        push(client, "b")
        wait_until(path.exists)
        assert path.read_bytes() == b"a\nb\n", "complete as soon as it is there"
        assert catalog_when_back(client) == ["a", "b"]
