"""The services of deploy/compose without containers: its nginx and registry files, three replicas, MariaDB, Redis."""

import http.client
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import Skopeo
from tests.support.commands import run_registry
from tests.support.deployments import DEPLOY, read_compose
from tests.support.mariadb import Database, MariaDbServer
from tests.support.oci import digest_of, make_image, write_layout
from tests.support.ports import free_port
from tests.support.processes import SERVE_OUR_REGISTRY, ServerProcess
from tests.support.redis_server import RedisServer
from tests.support.registry_client import RegistryClient

pytestmark = pytest.mark.e2e

FOLDER = DEPLOY / "compose"
REDIS_PASSWORD = "the-password-of-redis"
SECRETS = {
    "REGISTRY_HTTP_SECRET": "one text on all replicas",
    "MYSQL_PASSWORD": "the-password-of-mysql",
    "REDIS_PASSWORD": REDIS_PASSWORD,
}
SERVICES: dict[str, Any] = read_compose(FOLDER / "compose.yaml", SECRETS)["services"]
NGINX = """
daemon off;
user root;
worker_processes 1;
pid {folder}/nginx.pid;
events {{ worker_connections 512; }}
http {{
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  include {folder}/registry.conf;
}}
"""


@dataclass(frozen=True)
class Topology:
    """All of it."""

    replicas: list[ServerProcess]
    proxy: ServerProcess
    database: Database
    cache: RedisServer

    @property
    def client(self) -> RegistryClient:
        return RegistryClient(self.proxy.host)


def replica(folder: Path, environment: dict[str, str]) -> ServerProcess:
    port = free_port()
    addresses = {"REGISTRY_HTTP_ADDR": f"127.0.0.1:{port}", "REGISTRY_HTTP_DEBUG_ADDR": f"127.0.0.1:{free_port()}"}
    command = (*SERVE_OUR_REGISTRY[:-1], *SERVICES["registry"]["command"])
    return ServerProcess(command, port=port, folder=folder, environment=environment | addresses)


def options_of_redis() -> list[str]:
    """The options in the command of the compose file, which a shell runs."""
    shell, option, text = SERVICES["cache"]["command"]
    words = shlex.split(text.replace("$REDIS_PASSWORD", REDIS_PASSWORD))
    assert (shell, option, words[:2]) == ("sh", "-c", ["exec", "redis-server"])
    return words[2:]


def proxy(folder: Path, replicas: list[ServerProcess], program: str) -> ServerProcess:
    port = free_port()
    folder.mkdir()
    shipped = (FOLDER / "nginx" / "registry.conf").read_text()
    own = shipped.replace("listen 8080;", f"listen 127.0.0.1:{port};").replace(
        "/etc/nginx/upstream.conf", str(folder / "upstream.conf")
    )
    assert own.count(str(port)) == 1
    (folder / "registry.conf").write_text(own)
    servers = "".join(f"server {each.host} max_fails=2 fail_timeout=5s; " for each in replicas)
    (folder / "upstream.conf").write_text(f"upstream registry {{ zone registry 64k; {servers} keepalive 32; }}\n")
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder))
    command = [program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
    return ServerProcess(command, port=port, folder=folder)


@contextmanager
def started(database: Database, tool: Callable[[str], str], folder: Path) -> Iterator[Topology]:
    with ExitStack() as stack:
        cache = stack.enter_context(RedisServer(tool("redis-server"), *options_of_redis()))
        environment = {
            **SERVICES["registry"]["environment"],
            # The networks and volumes of the compose file.
            "REGISTRY_CONFIGURATION_PATH": str(FOLDER / "config.yml"),
            "SEARCH_BACKEND_MYSQL": database.dsn,
            "REGISTRY_REDIS_ADDRS": f"[{cache.address}]",
            "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(folder / "images"),
            "REGISTRY_HTTP_TRUSTEDPROXIES": "[127.0.0.0/8]",
        }
        replicas = [replica(folder / f"replica-{number}", environment) for number in range(3)]
        for each in replicas:
            stack.push(each)
            each.launch()
        for each in replicas:
            each.wait_until_ready()
        front = stack.enter_context(proxy(folder / "proxy", replicas, tool("nginx")))
        yield Topology(replicas, front, database, cache)


@pytest.fixture(scope="class")
def topology(
    mariadb: MariaDbServer, tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Topology]:
    """All of it, for the tests that leave it as it was; each uses repositories of its own."""
    mariadb.ensure_running()
    with started(mariadb.create_database(), tool, tmp_path_factory.mktemp("topology")) as whole:
        yield whole


def pull_in_parts(client: RegistryClient, repository: str, digest: str) -> bytes:
    """Read a blob as clients do: nginx repeats an unanswered request, and the client continues a body that was cut."""
    target = f"/v2/{repository}/blobs/{digest}"
    try:
        return client.request("GET", target).expect(200).body
    except http.client.IncompleteRead as cut:
        headers = {"Range": f"bytes={len(cut.partial)}-"}
        return cut.partial + client.request("GET", target, headers=headers).expect(206).body


class TestSharedTopology:
    def test_clients_push_and_pull_while_a_replica_is_killed(self, topology, tool, tmp_path) -> None:
        tool("skopeo")
        image = make_image(60, layer_sizes=(200_000, 3_000_000))
        layout = write_layout(tmp_path / "layout", image, "v1")
        Skopeo(tmp_path / "pusher", topology.proxy.host).push(layout, "v1", "killed/app:v1")
        killer = threading.Timer(0.3, topology.replicas[0].kill)
        killer.start()
        try:
            for _ in range(15):
                assert topology.client.get_manifest("killed/app", "v1") == image.manifest
                pulled = [pull_in_parts(topology.client, "killed/app", content.digest) for content in image.blobs]
                assert pulled == [content.data for content in image.blobs]
            killer.join()
            pushed = make_image(61)
            topology.client.push("killed/other", "v1", pushed)
        finally:
            killer.join()
            topology.replicas[0].start()
        for each in topology.replicas:
            assert pushed.digest in RegistryClient(each.host).pull("killed/other", "v1")
            listed = [name for name in RegistryClient(each.host).catalog() if name.startswith("killed/")]
            assert listed == ["killed/app", "killed/other"]
        assert topology.database.sql("select count(*) from repositories where name like 'killed/%%'") == [(2,)]
        assert topology.cache.client(password=REDIS_PASSWORD).dbsize() > 0

    def test_upload_continues_at_any_replica(self, topology) -> None:
        source, blob = random.Random(5), b""
        location = topology.client.start_upload("team/crossing").header("Location")
        assert location.startswith(f"http://{topology.proxy.host}/v2/team/crossing/blobs/uploads/")
        used: list[ServerProcess] = []
        ends = time.monotonic() + 60
        # nginx passes over a replica for five seconds after two failures, such as those that the other tests cause.
        while len(used) < 3:
            assert time.monotonic() < ends, [each.port for each in used]
            piece = source.randbytes(100_000)
            location = topology.client.append(location, piece).expect(202).header("Location")
            blob += piece
            used = [each for each in topology.replicas if "/v2/team/crossing/" in each.log()]
        topology.client.finish_upload(location, digest_of(blob)).expect(201)

    def test_request_id_connects_both_logs(self, topology) -> None:
        forged = {"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9", "X-Request-Id": "mine"}
        answer = topology.client.request("GET", "/v2/team/none/manifests/v1", headers=forged).expect(404)
        request_id = answer.header("X-Request-Id")
        # A line is written when its answer is out, and the client may be faster.
        deadline = time.monotonic() + 60
        access: list[dict[str, Any]] = []
        while not access and time.monotonic() < deadline:
            lines = [line for each in topology.replicas for line in each.log().splitlines() if request_id in line]
            access = [line for line in map(json.loads, lines) if "http.response.status" in line]
            time.sleep(0.05)
        front = [json.loads(line) for line in topology.proxy.log().splitlines() if request_id in line]
        assert [line["path"] for line in front] == ["/v2/team/none/manifests/v1"]
        assert [(line["http.request.remoteaddr"], line["http.response.status"]) for line in access] == [
            ("127.0.0.1", 404)
        ]

    def test_commands_in_a_container_use_the_file_and_the_store_of_the_server(self, topology) -> None:
        topology.client.push("command/app", "v1", make_image(65))
        done = run_registry("tags", "command/app", "--json", environment=topology.replicas[0].environment)
        assert (done.returncode, done.stderr) == (0, "")
        assert '"v1"' in done.stdout

    def test_healthcheck_of_the_compose_file_succeeds(self, topology) -> None:
        kind, _, option, code = SERVICES["registry"]["healthcheck"]["test"]
        assert (kind, option, code.count("5000")) == ("CMD", "-c", 1)
        code = code.replace("5000", str(topology.replicas[0].port))
        assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0

    def test_each_replica_has_metrics(self, topology) -> None:
        for each in topology.replicas:
            debug = RegistryClient(each.environment["REGISTRY_HTTP_DEBUG_ADDR"])
            assert b"registry_build_info{" in debug.request("GET", "/metrics").expect(200).body

    def test_stops_of_a_replica_fail_no_request(self, topology) -> None:
        replica, is_over = topology.replicas[1], threading.Event()

        def push(name: str) -> int:
            pushed = 0
            while not is_over.is_set():
                topology.client.push(f"stopped/{name}", "v1", make_image(64, layer_sizes=(100, 2000)))
                pushed += 1
            return pushed

        with ThreadPoolExecutor(4) as clients:
            pushing = [clients.submit(push, f"app{number}") for number in range(4)]
            try:
                for _ in range(5):
                    os.kill(replica.pid, signal.SIGTERM)
                    assert replica.wait() == 0
                    replica.start()
            finally:
                is_over.set()
        assert all(each.result() > 0 for each in pushing)


def test_pulls_work_without_index_and_cache(database, tool, tmp_path) -> None:
    image = make_image(62)
    with started(database, tool, tmp_path) as topology:
        topology.client.push("team/app", "v1", image)
        topology.database.server.kill()
        topology.cache.kill()
        for _ in range(3):
            assert image.digest in topology.client.pull("team/app", "v1")
        topology.client.push("team/later", "v1", make_image(63))
        assert topology.client.request("GET", "/readyz").status == 200
