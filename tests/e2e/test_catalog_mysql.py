"""The catalog in MySQL, as DomeOS reads it, with a server that is killed and comes back."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import cast

import pytest

from tests.support.catalogs import (
    DEGRADED,
    TINY,
    assert_said_once,
    catalog_when_back,
    make_repositories,
    mysql_registries,
    pages,
    push,
    registries,
    wait_until,
)
from tests.support.commands import run_registry
from tests.support.mariadb import SEED_TABLE, Database, MariaDbServer
from tests.support.processes import RegistryServer
from tests.support.registry_client import Answer, RegistryClient

pytestmark = pytest.mark.e2e


def rows(database: Database) -> dict[str, int]:
    """Read the table as DomeOS does."""
    return dict(cast("list[tuple[str, int]]", database.sql("SELECT name, createTime FROM repositories")))


def catalog(server: RegistryServer) -> Answer:
    return RegistryClient(server.host).request("GET", "/v2/_catalog?n=1000")


def assert_unavailable(answer: Answer) -> None:
    answer.expect(503)
    assert b'"UNAVAILABLE"' in answer.body
    assert b"the catalog is unavailable" in answer.body
    assert answer.header("Retry-After") == "5"


@pytest.fixture(scope="class")
def serving(
    mariadb: MariaDbServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RegistryServer, Database]]:
    mariadb.ensure_running()
    database = mariadb.create_database()
    with mysql_registries(tmp_path_factory.mktemp("serving"), database) as [server]:
        yield server, database


class TestSoundIndex:
    """One registry and one table for all tests; each begins with an empty registry and an empty table."""

    @pytest.fixture
    def server(self, serving: tuple[RegistryServer, Database]) -> RegistryServer:
        return serving[0]

    @pytest.fixture
    def client(self, server: RegistryServer) -> RegistryClient:
        return RegistryClient(server.host)

    @pytest.fixture
    def database(self, serving: tuple[RegistryServer, Database], client: RegistryClient) -> Iterator[Database]:
        """The table; afterwards nothing is left in it and in the registry."""
        yield serving[1]
        serving[1].sql("DELETE FROM repositories")
        for name in ("a", "a/b", "b", "real", "team/tagged", "team/by-digest"):
            client.request("DELETE", f"/v2/{name}/manifests/{TINY.digest}").expect(202, 404)
        assert rows(serving[1]) == {}

    def test_push_is_in_the_table_when_it_is_answered(self, client: RegistryClient, database: Database) -> None:
        began = int(time.time())
        push(client, "team/tagged")
        assert began <= rows(database)["team/tagged"] <= time.time()
        client.push_blob("team/by-digest", TINY.blobs[0].data)
        assert "team/by-digest" not in rows(database)
        client.push_manifest("team/by-digest", TINY.digest, TINY.manifest)
        assert rows(database).keys() == {"team/tagged", "team/by-digest"}

    def test_push_again_moves_the_create_time(self, client: RegistryClient, database: Database) -> None:
        push(client, "a")
        database.sql("UPDATE repositories SET createTime = 5")
        push(client, "a")
        assert rows(database)["a"] > 5

    def test_deletion_of_the_last_manifest_removes_the_row(self, client: RegistryClient, database: Database) -> None:
        push(client, "a", "a/b")
        client.delete_manifest("a", "v1")
        assert "a" in rows(database), "its manifest is still there without the tag"
        client.delete_manifest("a", TINY.digest)
        assert rows(database).keys() == {"a/b"}
        assert client.catalog() == ["a/b"]
        push(client, "a")
        assert client.catalog() == ["a", "a/b"]

    def test_index_never_decides_whether_an_image_exists(self, client: RegistryClient, database: Database) -> None:
        push(client, "real")
        database.sql("UPDATE repositories SET name = 'ghost'")
        assert client.catalog() == ["ghost"]
        client.request("GET", "/v2/ghost/manifests/v1").expect(404)
        client.request("GET", "/v2/ghost/tags/list").expect(404)
        assert client.pull("real", "v1").keys() >= {TINY.digest}
        assert client.tags("real") == ["v1"]

    def test_rebuild_by_hand_while_serving(
        self, server: RegistryServer, client: RegistryClient, database: Database
    ) -> None:
        push(client, "a", "b")
        database.sql("UPDATE repositories SET name = 'ghost' WHERE name = 'b'")
        done = run_registry("catalog", "rebuild", str(server.config_path), environment=server.environment)
        assert done.returncode == 0, done.stderr
        indexed, summarized = done.stdout.splitlines()
        assert indexed == "2 repositories in the catalog index"
        # Those too that hold no manifest any more.
        assert summarized.endswith(" repositories summarized")
        assert client.catalog() == ["a", "b"]
        assert database.user not in done.stderr


class TestOutage:
    def test_pushes_succeed_and_are_written_later(
        self, tmp_path: Path, database: Database, mariadb: MariaDbServer
    ) -> None:
        with mysql_registries(tmp_path, database, count=2) as servers:
            pushed = self._push_while_killed(servers, mariadb)
            assert_unavailable(catalog(servers[0]))
            assert RegistryClient(servers[0].host).pull("team-0/app-0", "v1").keys() >= {TINY.digest}
            mariadb.start()
            wait_until(lambda: rows(database).keys() == set(pushed))
            for server in servers:
                assert catalog_when_back(RegistryClient(server.host)) == sorted(pushed)
                assert_said_once(server, DEGRADED)
                assert_said_once(server, "catalog index available again")

    @staticmethod
    def _push_while_killed(servers: list[RegistryServer], mariadb: MariaDbServer) -> list[str]:
        """Push with four clients to two replicas and SIGKILL the database in the middle; return the names."""
        pushed: list[str] = []
        is_over = threading.Event()

        def run(team: int) -> None:
            client = RegistryClient(servers[team % 2].host)
            number = 0
            while not is_over.is_set():
                push(client, f"team-{team}/app-{number}")
                pushed.append(f"team-{team}/app-{number}")
                number += 1

        with ThreadPoolExecutor(4) as pool:
            pushers = [pool.submit(run, team) for team in range(4)]
            try:
                time.sleep(0.7)
                mariadb.kill()
                before = len(pushed)
                wait_until(lambda: len(pushed) > before + 20)
            finally:
                is_over.set()
        for pusher in pushers:
            pusher.result()
        return pushed

    def test_start_without_the_server(self, tmp_path: Path, database: Database, mariadb: MariaDbServer) -> None:
        make_repositories(tmp_path / "storage", ["old/a", "old/b"])
        mariadb.stop()
        with mysql_registries(tmp_path, database) as [server]:
            assert_unavailable(catalog(server))
            push(RegistryClient(server.host), "new")
            assert_said_once(server, DEGRADED)
            assert f"MySQL at 127.0.0.1:{mariadb.port} does not accept connections" in server.log()
            mariadb.start()
            assert set(catalog_when_back(RegistryClient(server.host))) >= {"old/a", "old/b"}
            wait_until(lambda: rows(database).keys() == {"new", "old/a", "old/b"})
            assert_said_once(server, DEGRADED)

    def test_server_that_never_answers_does_not_delay_the_start(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            dsn = f"u:p@tcp(127.0.0.1:{silent.getsockname()[1]})/d?timeout=60s"
            with registries(tmp_path, {"SEARCH_BACKEND": "mysql", "SEARCH_BACKEND_MYSQL": dsn}):
                connection, _ = silent.accept()
                with connection, pytest.raises(BlockingIOError):
                    # The registry serves, and still waits for an answer on it.
                    connection.recv(1, socket.MSG_DONTWAIT)


def test_replicas_start_and_push_on_one_table(tmp_path: Path, database: Database) -> None:
    """No reader of the table sees it half filled, and every name is in it once."""
    old = {f"old/app-{number}" for number in range(300)}
    make_repositories(tmp_path / "storage", old)
    database.sql(SEED_TABLE)
    database.sql("INSERT INTO repositories VALUES ('ghost', 7), ('old/app-1', 8)")
    counts: set[int] = set()
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.is_set():
            counts.add(len(database.sql("SELECT name FROM repositories")))

    with ThreadPoolExecutor(4) as pool:
        watching = pool.submit(watch)
        try:
            with mysql_registries(tmp_path, database, count=3) as servers:
                is_over.set()
                assert rows(database).keys() == old
                assert rows(database)["old/app-1"] == 8
                names = [[f"new/app-{number}" for number in range(each, each + 10)] for each in (0, 5, 10)]
                pushes = [
                    pool.submit(push, RegistryClient(server.host), *some)
                    for server, some in zip(servers, names, strict=True)
                ]
                for done in pushes:
                    done.result()
                wanted = sorted(old | {name for some in names for name in some})
                for server in servers:
                    assert [
                        name for page in pages(RegistryClient(server.host), "/v2/_catalog?n=7") for name in page
                    ] == (wanted)
        finally:
            is_over.set()
        watching.result()
    assert counts <= {2, 300}


def test_table_of_the_former_registry_is_used_unchanged(tmp_path: Path, database: Database) -> None:
    """Names that its collation sorts in another order than bytes do are paged in the order of bytes."""
    names = ["a", "a-b", "a.b", "a/b", "a_b", "ab", "z_z", "zz"]
    make_repositories(tmp_path / "storage", names)
    database.sql(SEED_TABLE)
    database.sql("INSERT INTO repositories VALUES ('ab', 1), ('a_b', 2), ('gone', 3)")
    made = database.sql("SHOW CREATE TABLE repositories")
    with mysql_registries(tmp_path, database) as [server]:
        assert list(pages(RegistryClient(server.host), "/v2/_catalog?n=3")) == [names[:3], names[3:6], names[6:]]
    assert rows(database) | {"ab": 1, "a_b": 2} == rows(database)
    assert rows(database).keys() == set(names)
    assert database.sql("SHOW CREATE TABLE repositories") == made


def test_user_without_create_is_shown_the_statement(tmp_path: Path, database: Database, mariadb: MariaDbServer) -> None:
    make_repositories(tmp_path / "storage", ["a"])
    user = mariadb.create_user(database, f"{database.name}_w", "SELECT, INSERT, UPDATE, DELETE")
    with mysql_registries(tmp_path, user) as [server]:
        assert_unavailable(catalog(server))
        assert_said_once(server, DEGRADED)
        assert "grant CREATE, or run as another user: CREATE TABLE IF NOT EXISTS repositories (name" in server.log()
        push(RegistryClient(server.host), "b")
        database.sql(SEED_TABLE)
        wait_until(lambda: rows(database).keys() == {"a", "b"})


def assert_complete_or_unavailable(server: RegistryServer, names: list[str]) -> bool:
    """Assert that the catalog is unavailable or holds these names; return whether it does."""
    answer = catalog(server)
    if answer.status != HTTPStatus.OK:
        assert_unavailable(answer)
        return False
    assert json.loads(answer.body)["repositories"] == names
    return True


def test_dropped_table_is_created_and_filled_again(tmp_path: Path, database: Database) -> None:
    with mysql_registries(tmp_path, database) as [server]:
        push(RegistryClient(server.host), "a")
        database.sql("DROP TABLE repositories")
        push(RegistryClient(server.host), "b")
        wait_until(lambda: assert_complete_or_unavailable(server, ["a", "b"]))
        assert rows(database).keys() == {"a", "b"}
        # Each worker process: the catalog is there, or not yet.
        for _ in range(100):
            assert_complete_or_unavailable(server, ["a", "b"])


def test_no_process_answers_an_incomplete_catalog_after_a_loss(tmp_path: Path, database: Database) -> None:
    """Whichever process notices the loss first, and while the others push; no other reader sees less either."""
    names = [f"old/app-{number:03}" for number in range(900)]
    make_repositories(tmp_path / "storage", names)
    with mysql_registries(tmp_path, database, count=2) as servers:
        assert rows(database).keys() == set(names)
        names += ["pushed/0", "pushed/1"]
        database.sql("DROP TABLE repositories")
        for number, server in enumerate(servers):
            push(RegistryClient(server.host), f"pushed/{number}")

        def is_complete() -> bool:
            if database.sql("SHOW TABLES LIKE 'repositories'"):
                assert rows(database).keys() == set(names)
            answered = [assert_complete_or_unavailable(server, names) for server in servers]
            return all(answered)

        wait_until(is_complete)
        for _ in range(50):
            is_complete()
        assert database.sql("SHOW TABLES") == [("repositories",)]
