"""More connections than the process may have descriptors."""

import contextlib
import http.client
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import SERVE_OUR_REGISTRY, RegistryServer

pytestmark = pytest.mark.e2e

WORKERS = 2


@contextlib.contextmanager
def limited(tmp_path: Path, *, soft: int, hard: int) -> Iterator[RegistryServer]:
    command = ("sh", "-c", f'ulimit -S -n {soft}; ulimit -H -n {hard}; exec "$@"', "sh", *SERVE_OUR_REGISTRY)
    config = {"http": {"workers": WORKERS}}
    with RegistryServer(tmp_path / "server", tmp_path / "storage", command=command, config=config) as server:
        yield server


@contextlib.contextmanager
def idle_connections(server: RegistryServer, count: int) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=5))
        yield


def test_idle_connections_do_not_exhaust_descriptors(tmp_path: Path) -> None:
    with limited(tmp_path, soft=64, hard=64) as server, idle_connections(server, 200):
        ends = time.monotonic() + 3
        while time.monotonic() < ends:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            connection.request("GET", "/v2/_catalog")
            assert connection.getresponse().status == 200
            connection.close()
        log = server.log()
        assert 1 <= log.count("few file descriptors left") <= WORKERS
        # Every attempt to accept a connection failed, and not one of them is logged.
        assert sum('"GET /v2/_catalog' not in line for line in log.splitlines()) < 50
        assert "Traceback" not in log


def test_soft_limit_is_raised_to_the_hard_one(tmp_path: Path) -> None:
    with limited(tmp_path, soft=64, hard=777) as server:
        limits = Path(f"/proc/{server.pid}/limits").read_text()
        found = re.search(r"Max open files +(\d+) +(\d+)", limits)
        assert found is not None
        assert found.groups() == ("777", "777")
