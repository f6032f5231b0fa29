"""TLS of the registry itself: connections, renewed certificates under load, and errors at start."""

import asyncio
import hashlib
import json
import os
import signal
import socket
import ssl
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession, TCPConnector

from tests.support.certificates import Authority, Pair
from tests.support.clients import Podman, Skopeo
from tests.support.oci import make_image, write_layout
from tests.support.ports import free_port
from tests.support.processes import SERVE_OUR_REGISTRY, RegistryServer, ServerProcess
from tests.support.registry_client import RegistryClient
from tests.support.sockets import only_these_are_open, open_sockets
from tests.support.tls_servers import TlsRegistryServer
from tests.support.tools import REPOSITORY_ROOT

pytestmark = pytest.mark.e2e

EXCHANGES = 8
WORKERS = 4


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def pair(authority: Authority) -> Pair:
    return authority.issue("server")


@pytest.fixture
def server(tmp_path: Path, pair: Pair) -> Iterator[TlsRegistryServer]:
    with TlsRegistryServer(tmp_path / "server", tmp_path / "storage", pair) as running:
        yield running


def shown_serial(server: TlsRegistryServer, authority: Authority) -> int:
    """The number of the certificate that a new connection is shown, which the authority must have signed."""
    context = ssl.create_default_context(cafile=str(authority.path))
    with (
        socket.create_connection(("127.0.0.1", server.port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as encrypted,
    ):
        certificate = encrypted.getpeercert()
    assert certificate is not None
    return int(str(certificate["serialNumber"]), 16)


def shown_serials(server: TlsRegistryServer, authority: Authority) -> set[int]:
    """Those of many connections, which the kernel spreads over all processes."""
    return {shown_serial(server, authority) for _ in range(20)}


def children_of(process: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_clients_push_and_pull(tool, server, tmp_path) -> None:
    image = make_image(1, layer_sizes=(10_000, 3_000_000))
    layout = write_layout(tmp_path / "layout", image, "v1")
    for kind in (Skopeo, Podman):
        tool(kind.program)
        name = f"tls/{kind.program}:v1"
        kind(tmp_path / f"{kind.program}-pusher", server.host).push(layout, "v1", name)
        assert kind(tmp_path / f"{kind.program}-puller", server.host).pull(name) == image.blobs[0].digest


class Load:
    """Clients that push, pull and look, half of them on new connections; counts what became of it."""

    def __init__(self, server: TlsRegistryServer, authority: Authority) -> None:
        self._root = f"https://localhost:{server.port}"
        self._context = ssl.create_default_context(cafile=str(authority.path))
        self.outcomes: Counter[str] = Counter()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        sockets = open_sockets()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._work(number)) for number in range(WORKERS)]
            yield
            for task in tasks:
                task.cancel()
        await only_these_are_open(sockets)

    async def _work(self, number: int) -> None:
        connector = TCPConnector(ssl=self._context, force_close=number % 2 == 0)
        async with ClientSession(connector=connector) as session:
            blob = os.urandom(200_000)
            digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
            while True:
                await self._round(session, f"{self._root}/v2/load/{number}/blobs/", digest, blob)

    async def _round(self, session: ClientSession, blobs: str, digest: str, blob: bytes) -> None:
        try:
            async with session.post(f"{blobs}uploads/?digest={digest}", data=blob) as response:
                self.outcomes[f"push {response.status}"] += 1
            async with session.get(blobs + digest) as response:
                is_right = await response.read() == blob
                self.outcomes[f"pull {response.status} {is_right}"] += 1
        except OSError as error:
            self.outcomes[repr(error)] += 1


async def test_certificates_are_exchanged_under_load(server, authority, pair) -> None:
    load = Load(server, authority)
    serials = []
    async with load.running():
        for number in range(EXCHANGES):
            await asyncio.sleep(0.2)
            pair.replace_by(authority.issue(f"fresh-{number}"))
            server.signal(signal.SIGHUP)
            await asyncio.sleep(0.2)
            serials.append(await asyncio.to_thread(shown_serial, server, authority))
        await asyncio.to_thread(wait_for, lambda: shown_serials(server, authority) == {pair.serial})
    assert len(set(serials)) > EXCHANGES // 2
    assert set(load.outcomes) == {"push 201", "pull 200 True"}, load.outcomes
    assert load.outcomes["push 201"] > EXCHANGES


def test_renewed_certificate_is_noticed(server, authority, pair) -> None:
    pair.replace_by(authority.issue("fresh"))
    # Each process looks by itself; the first one speaks for all.
    wait_for(lambda: shown_serials(server, authority) == {pair.serial})
    wait_for(lambda: "certificate reloaded" in server.log())


def test_mismatching_pair_is_refused_and_the_old_one_served(server, authority, pair) -> None:
    before = pair.serial
    pair.certificate.write_bytes(authority.issue("other").certificate.read_bytes())
    server.signal(signal.SIGHUP)
    wait_for(lambda: "certificate not reloaded" in server.log())
    assert f"http.tls.key: {pair.key}: does not belong to the certificate" in server.log()
    assert shown_serial(server, authority) == before


def test_process_that_replaces_another_has_the_new_certificate(tmp_path: Path, authority, pair) -> None:
    config = {"http": {"workers": 2}}
    with TlsRegistryServer(tmp_path / "server", tmp_path / "storage", pair, config=config) as server:
        before = pair.serial
        pair.replace_by(authority.issue("fresh"))
        server.signal(signal.SIGHUP)
        wait_for(lambda: shown_serials(server, authority) == {pair.serial})
        for worker in children_of(server.pid):
            os.kill(worker, signal.SIGKILL)
        wait_for(lambda: "worker 1 exited" in server.log() and "worker 0 exited" in server.log())
        wait_for(server.answers)
        wait_for(lambda: shown_serials(server, authority) == {pair.serial})
        assert before != pair.serial


def test_refused_reload_is_logged_once_for_all_processes(tmp_path: Path, pair) -> None:
    config = {"http": {"workers": 3}}
    with TlsRegistryServer(tmp_path / "server", tmp_path / "storage", pair, config=config) as server:
        server.config_path.write_text("version: 0.1\nstorage: [\n")
        server.signal(signal.SIGHUP)
        wait_for(lambda: "configuration not reloaded" in server.log())
        time.sleep(1)
        assert server.log().count("configuration not reloaded, the previous state stays in use: ") == 1
        assert server.answers()


def test_switches_change_while_serving(tmp_path: Path) -> None:
    with RegistryServer(tmp_path / "server", tmp_path / "storage") as server:
        document = json.loads(server.config_path.read_text())
        document["storage"]["maintenance"] = {"readonly": {"enabled": True, "reason": "moving to a new disk"}}
        document["http"] |= {"headers": {"X-New": ["yes"]}, "addr": "127.0.0.1:1"}
        document["log"] = {"level": "info", "formatter": "json"}
        server.config_path.write_text(json.dumps(document))
        server.signal(signal.SIGHUP)
        wait_for(lambda: '"msg": "configuration reloaded"' in server.log())
        assert "these keys take effect at the next start: http.addr" in server.log()
        client = RegistryClient(server.host)
        # Each process follows on its own.
        wait_for(lambda: all(client.request("POST", "/v2/a/blobs/uploads/").status == 405 for _ in range(20)))
        answer = client.request("POST", "/v2/a/blobs/uploads/")
        assert answer.header("X-New") == "yes"
        assert b"moving to a new disk" in answer.body


def refused_start(folder: Path, **http_section: object) -> str:
    """Start a server that must not start, and return its output; it exits with 1."""
    path = folder / "wrong.yml"
    path.write_text(
        json.dumps(
            {"version": 0.1, "storage": "inmemory", "http": {"secret": "sixteen bytes at least", **http_section}}
        )
    )
    done = subprocess.run(
        [*SERVE_OUR_REGISTRY, str(path)], cwd=REPOSITORY_ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


def test_missing_certificate_stops_the_start(tmp_path: Path, pair: Pair) -> None:
    line = refused_start(tmp_path, tls={"certificate": "/nowhere", "key": str(pair.key)}, addr="127.0.0.1:0")
    assert line == "configuration error: http.tls.certificate: /nowhere: cannot be read: No such file or directory"


def test_port_in_use_stops_the_start(tmp_path: Path) -> None:
    with RegistryServer(tmp_path / "server", tmp_path / "storage") as server:
        line = refused_start(tmp_path, addr=server.host)
    assert f'msg="cannot listen on {server.host}: Address already in use"' in line


def test_file_in_the_way_of_a_socket_stops_the_start(tmp_path: Path) -> None:
    line = refused_start(tmp_path, net="unix", addr=str(tmp_path / "wrong.yml"))
    assert line == f"configuration error: http.addr: {tmp_path}/wrong.yml: exists and is not a socket"


def test_systemd_may_hand_over_the_socket(tmp_path: Path) -> None:
    port = free_port()
    path = tmp_path / "config.yml"
    path.write_text(json.dumps({"version": 0.1, "storage": "inmemory", "http": {"secret": "sixteen bytes at least"}}))
    handover = (
        "import os, socket, sys\n"
        f"given = socket.create_server(('127.0.0.1', {port}))\n"
        "os.dup2(given.fileno(), 3)\n"
        "os.set_inheritable(3, True)\n"
        "os.environ |= {'LISTEN_FDS': '1', 'LISTEN_PID': str(os.getpid())}\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'entrypoints.cli', 'serve', sys.argv[1]])\n"
    )
    command = (SERVE_OUR_REGISTRY[0], "-c", handover, str(path))
    with ServerProcess(command, port=port, folder=tmp_path) as server:
        assert f"listening on 127.0.0.1:{port}" in server.log()
