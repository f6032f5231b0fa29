"""The server under systemd: notifications, watchdog, socket activation and units."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient
from tests.support.systemd import NotifySocket, socket_activated
from tests.support.tools import REPOSITORY_ROOT

pytestmark = pytest.mark.e2e

SERIES = [1, 3]


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[NotifySocket]:
    listening = NotifySocket(tmp_path / "notify")
    yield listening
    listening.close()


@pytest.fixture
def make(tmp_path: Path, systemd: NotifySocket) -> Callable[..., RegistryServer]:
    def make_one(workers: int, environment: dict[str, str] | None = None, **options: Any) -> RegistryServer:
        config = {"http": {"workers": workers, "headers": {"X-Round": ["1"]}}}
        environment = systemd.environment | (environment or {})
        return RegistryServer(tmp_path / "s", tmp_path / "d", config=config, environment=environment, **options)

    return make_one


def rounds(server: RegistryServer, tries: int = 12) -> set[str]:
    """Which configuration answers, over connections that the kernel spreads over the workers."""
    return {RegistryClient(server.host).request("GET", "/v2/").header("X-Round") for _ in range(tries)}


def set_round(server: RegistryServer, value: str) -> None:
    document = json.loads(server.config_path.read_text())
    document["http"]["headers"]["X-Round"] = [value]
    server.config_path.write_text(json.dumps(document))


@pytest.mark.parametrize("workers", SERIES)
def test_start_reload_and_stop_are_notified_in_order(make, systemd, workers) -> None:
    with make(workers) as server:
        server.kill()
        systemd.drain()
        server.launch()
        ready = systemd.wait_for(lambda message: "READY" in message)
        assert rounds(server) == {"1"}, "it was ready before it served"
        assert ready["STATUS"]
        for value in ("2", "3"):
            set_round(server, value)
            server.signal(signal.SIGHUP)
            systemd.wait_for(lambda message: "RELOADING" in message)
            systemd.wait_for(lambda message: "READY" in message)
            assert rounds(server) == {value}, "it was ready before all had reloaded"
        systemd.drain()
        assert server.stop() == 0
        assert [sorted(each) for each in systemd.drain()] == [["EXTEND_TIMEOUT_USEC", "STATUS", "STOPPING"]]
        assert server.log().count("msg=stopping") == 1


@pytest.mark.parametrize("workers", SERIES)
def test_watchdog_is_notified_while_the_event_loops_run(make, systemd, workers) -> None:
    with make(workers, {"WATCHDOG_USEC": "2000000"}) as server:
        for _ in range(5):
            systemd.wait_for(lambda message: "WATCHDOG" in message)
        if workers == 1:
            server.signal(signal.SIGSTOP)
            time.sleep(0.2)
            systemd.drain()
            time.sleep(1)
            assert systemd.drain() == []
            server.signal(signal.SIGCONT)


def test_stuck_worker_is_replaced(make, systemd) -> None:
    with make(3, {"WATCHDOG_USEC": "3000000"}) as server:
        systemd.wait_for(lambda message: "READY" in message)
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
        stuck = children.read_text().split()[1]
        os.kill(int(stuck), signal.SIGSTOP)
        ends = time.monotonic() + 60
        while stuck in children.read_text().split() or len(children.read_text().split()) < 3:
            assert time.monotonic() < ends
            time.sleep(0.05)
        assert 'msg="worker 1 does not respond, killing it"' in server.log()
        assert rounds(server) == {"1"}
        assert server.log().count("does not respond") == 1


@pytest.mark.parametrize("workers", SERIES)
def test_socket_of_systemd_is_shared_and_outlives_the_service(make, workers) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as given:
        port = given.getsockname()[1]
        with make(workers, command=socket_activated(given), port=port, pass_descriptors=(given.fileno(),)) as server:
            assert rounds(server) == {"1"}
            assert server.stop() == 0
            # While it is down, who connects waits: systemd holds the socket.
            answers: list[int] = []
            waiting = threading.Thread(
                target=lambda: answers.append(RegistryClient(server.host).request("GET", "/v2/").status)
            )
            waiting.start()
            time.sleep(0.3)
            assert answers == []
            server.start()
            waiting.join(60)
            assert answers == [200]


def test_units_are_valid(tool: Callable[[str], str], tmp_path: Path) -> None:
    folder = REPOSITORY_ROOT / "deploy" / "systemd"
    units = sorted([*folder.glob("*.service"), *folder.glob("*.socket")])
    assert len(units) == 2
    for unit in units:
        # The program is not installed on this machine, which is all that may be missing.
        text = unit.read_text().replace("ExecStart=/opt/registry/bin/registry", "ExecStart=/bin/true")
        (tmp_path / unit.name).write_text(text)
    done = subprocess.run(
        [
            tool("systemd-analyze"),
            "verify",
            "--man=no",
            "--recursive-errors=no",
            *(str(tmp_path / unit.name) for unit in units),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
