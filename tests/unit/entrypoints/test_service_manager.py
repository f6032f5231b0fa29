"""The exact messages to systemd."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.loader import ServiceEnvironment, service_environment
from entrypoints.process.service_manager import NOBODY, ServiceManager
from tests.support.systemd import NotifySocket


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[NotifySocket]:
    listening = NotifySocket(tmp_path / "notify")
    yield listening
    listening.close()


def test_states_of_a_service_are_sent(listening: NotifySocket) -> None:
    service = ServiceManager(listening.environment["NOTIFY_SOCKET"], watchdog_seconds=30)
    service.ready("serving 127.0.0.1:5000")
    service.alive()
    service.reloading()
    service.reloaded()
    service.stopping(20)
    ready, alive, reloading, reloaded, stopping = listening.drain()
    assert ready == reloaded == {"READY": "1", "STATUS": "serving 127.0.0.1:5000"}
    assert alive == {"WATCHDOG": "1"}
    assert re.fullmatch(r"[0-9]+", reloading.pop("MONOTONIC_USEC"))
    assert reloading == {"RELOADING": "1", "STATUS": "reloading"}
    assert stopping["STOPPING"] == "1"
    assert int(stopping["EXTEND_TIMEOUT_USEC"]) > 20_000_000
    assert service.beat_seconds == 10


def test_abstract_address_is_supported(tmp_path: Path) -> None:
    name = f"registry-test-{tmp_path.name}-{id(tmp_path)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0{name}")
        sock.settimeout(5)
        ServiceManager(f"@{name}").alive()
        assert sock.recv(100) == b"WATCHDOG=1"


def test_without_a_service_manager_no_message_is_sent(caplog: pytest.LogCaptureFixture) -> None:
    NOBODY.ready("x")
    assert not NOBODY.listens
    assert NOBODY.beat_seconds is None
    assert caplog.records == []


def test_unreachable_systemd_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ServiceManager(str(tmp_path / "nothing")).ready("x")
    assert "cannot notify systemd of READY=1: No such file" in caplog.text


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, (None, None)),
        ({"NOTIFY_SOCKET": "/run/n"}, ("/run/n", None)),
        ({"NOTIFY_SOCKET": "@n", "WATCHDOG_USEC": "30000000"}, ("@n", 30.0)),
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, ("/run/n", 30.0)),
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, ("/run/n", None)),
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "0"}, ("/run/n", None)),
        ({"NOTIFY_SOCKET": "vsock:2:1", "WATCHDOG_USEC": "-1"}, (None, None)),
    ],
)
def test_environment_of_a_service_is_read(environ, expected) -> None:
    assert service_environment(pid=7, environ=environ) == ServiceEnvironment(*expected)
