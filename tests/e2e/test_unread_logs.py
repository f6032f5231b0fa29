"""A server whose standard output and error are pipes that are not read."""

import os
import subprocess
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from tests.support.catalogs import wait_until
from tests.support.oci import make_image
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient
from tests.support.tools import REPOSITORY_ROOT

pytestmark = pytest.mark.e2e

REQUESTS = 400
AGENT = "a" * 100
"""Part of each access line: those of all requests take half as much again as a pipe holds (64 KiB)."""


class UnreadServer(RegistryServer):
    """A registry that prints to a pipe of which this class keeps the reading end."""

    @override
    def launch(self) -> None:
        self.reading, writing = os.pipe()
        try:
            self._process = subprocess.Popen(
                self._command,
                cwd=REPOSITORY_ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                start_new_session=True,
            )
        finally:
            os.close(writing)

    def read(self) -> str:
        """Return the content of the pipe, while the server continues."""
        os.set_blocking(self.reading, False)
        content = b""
        try:
            while piece := os.read(self.reading, 65536):
                content += piece
        except BlockingIOError:
            pass
        return content.decode()

    @override
    def kill(self) -> None:
        super().kill()
        os.close(self.reading)


Start = Callable[..., UnreadServer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[UnreadServer] = []

    def start_one(**config: Any) -> UnreadServer:
        settings = {"http": {"workers": 2, "draintimeout": "2s"}, **config}
        server = UnreadServer(tmp_path / "server", tmp_path / "storage", config=settings)
        started.append(server)
        return server.__enter__()

    yield start_one
    for server in started:
        server.__exit__(None, None, None)


def fill_the_pipe(server: UnreadServer) -> None:
    client = RegistryClient(server.host)
    for _ in range(REQUESTS):
        client.request("GET", "/v2/", headers={"User-Agent": AGENT}).expect(200)


def test_requests_and_stop_do_not_wait_for_a_reader(start: Start) -> None:
    server = start()
    fill_the_pipe(server)
    image = make_image(1)
    client = RegistryClient(server.host)
    client.push("team/app", "v1", image)
    assert image.digest in client.pull("team/app", "v1")
    server.terminate()
    assert server.wait() == 0


def test_audit_log_that_is_not_read_stops_no_change_unless_it_is_required(start: Start) -> None:
    server = start(audit={"stdout": True})
    fill_the_pipe(server)
    client, image = RegistryClient(server.host), make_image(2)
    client.push("team/app", "v1", image)
    assert image.digest in client.pull("team/app", "v1")
    server.terminate()
    assert server.wait() == 0


def test_required_audit_log_that_is_not_read_refuses_changes_until_it_is(start: Start) -> None:
    server = start(audit={"stdout": True, "required": True})
    client, image = RegistryClient(server.host), make_image(3)
    client.push("team/app", "v1", image)
    fill_the_pipe(server)
    assert image.digest in client.pull("team/app", "v1")
    refused = client.request("DELETE", f"/v2/team/app/manifests/{image.digest}").expect(503)
    assert "the audit log is unavailable" in refused.body.decode()
    assert '"log": "audit"' in server.read()

    def is_deleted() -> bool:
        # Log lines that waited in memory may have filled the pipe again.
        server.read()
        return client.request("DELETE", f"/v2/team/app/manifests/{image.digest}").status == HTTPStatus.ACCEPTED

    wait_until(is_deleted)
