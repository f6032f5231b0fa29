"""Certificates from a real ACME server: orders by both challenges, replicas on one store, restarts and renewals."""

import http.client
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.pebble import NameServer, Pebble, name_server
from tests.support.ports import free_port
from tests.support.tls_servers import AcmeRegistryServer
from tests.support.tools import is_installed

pytestmark = pytest.mark.e2e

HOST = "registry.example.test"
OTHER = "other.example.test"
RENEWED = "renewed.example.test"
LIFE_SECONDS = 30
"""Life of certificates that are renewed during the tests, after two thirds of it."""


def wait_for(condition: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(scope="module")
def names(unavailable, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NameServer]:
    if not (is_installed("pebble") and is_installed("pebble-challtestsrv")):
        unavailable("pebble is not installed; `make tools` gets it")
    with name_server(tmp_path_factory.mktemp("names")) as server:
        yield server


@pytest.fixture(scope="module")
def pebble(names: NameServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    folder = tmp_path_factory.mktemp("pebble")
    with Pebble(folder, names, tls_port=free_port(), http_port=free_port()) as running:
        yield running


def shown(port: int, context: ssl.SSLContext, host: str) -> int | None:
    """Return the serial number of the certificate that a new connection verifies; None if it does not."""
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
            context.wrap_socket(plain, server_hostname=host) as encrypted,
        ):
            certificate = encrypted.getpeercert()
    except ssl.SSLCertVerificationError:
        return None
    assert certificate is not None
    return int(str(certificate["serialNumber"]), 16)


def shown_by_all(server: AcmeRegistryServer, context: ssl.SSLContext, host: str) -> set[int | None]:
    """Those of many connections, which the kernel spreads over all processes."""
    return {shown(server.port, context, host) for _ in range(20)}


class Renewals:
    """A registry with certificates of a short life, and clients that pull from it on new connections all the time."""

    def __init__(self, folder: Path, names: NameServer) -> None:
        port = free_port()
        self.pebble = Pebble(folder / "pebble", names, tls_port=port, http_port=free_port(), life_seconds=LIFE_SECONDS)
        self.pebble.start()
        config = {"http": {"workers": 2, "tls": {"letsencrypt": self.pebble.settings([RENEWED])}}}
        self.server = AcmeRegistryServer(folder, folder / "storage", config=config, port=port)
        self.serials: set[int] = set()
        self.outcomes: Counter[str] = Counter()
        self._ends = threading.Event()
        self._clients = threading.Thread(target=self._pull)

    def begin(self) -> None:
        """Start, without waiting for the first certificate."""
        self.server.start()
        self._clients.start()

    def close(self) -> None:
        """End all of it."""
        self._ends.set()
        self._clients.join()
        for process in (self.server, self.pebble):
            process.kill()

    def _pull(self) -> None:
        context = self.pebble.trusting_context()
        # Until all processes have the first certificate.
        while None in shown_by_all(self.server, context, RENEWED) and not self._ends.wait(0.1):
            pass
        while not self._ends.wait(0.05):
            try:
                self._request(context)
            except (OSError, http.client.HTTPException) as error:
                self.outcomes[repr(error)] += 1

    def _request(self, context: ssl.SSLContext) -> None:
        plain = socket.create_connection(("127.0.0.1", self.server.port), timeout=30)
        with plain, context.wrap_socket(plain, server_hostname=RENEWED) as encrypted:
            encrypted.sendall(f"GET /v2/ HTTP/1.1\r\nHost: {RENEWED}\r\nConnection: close\r\n\r\n".encode())
            self.outcomes[encrypted.recv(15).decode()] += 1
            certificate = encrypted.getpeercert()
        assert certificate is not None
        self.serials.add(int(str(certificate["serialNumber"]), 16))


@pytest.fixture(scope="module", autouse=True)
def renewals(names: NameServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Renewals]:
    """Runs beside all other tests of this file, so that the certificates are old at its end."""
    running = Renewals(tmp_path_factory.mktemp("renewals"), names)
    try:
        running.begin()
        yield running
    finally:
        running.close()


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("storage")


@pytest.fixture(scope="module")
def server(pebble: Pebble, storage: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AcmeRegistryServer]:
    """Two processes at the port where the ACME server checks names."""
    config = {"http": {"workers": 2, "tls": {"letsencrypt": pebble.settings([HOST])}}}
    folder = tmp_path_factory.mktemp("server")
    with AcmeRegistryServer(folder, storage, config=config, port=pebble.tls_port) as running:
        yield running


def test_certificate_is_ordered_and_all_processes_present_it(server, pebble, tool, tmp_path) -> None:
    assert f"no certificate for {HOST} yet, clients are refused until https://" in server.log()
    context = pebble.trusting_context()
    wait_for(lambda: None not in shown_by_all(server, context, HOST))
    assert server.log().count("ordering a certificate") == 1
    root = tmp_path / "root.pem"
    root.write_text(pebble.root)
    address = f"{HOST}:{server.port}"
    command = [tool("curl"), "--silent", "--show-error", "--fail", "--cacert", str(root)]
    command += ["--resolve", f"{address}:127.0.0.1", f"https://{address}/v2/"]
    subprocess.run(command, check=True, timeout=30)
    # Another program on the store learns nothing from it.
    stored = b"".join(path.read_bytes() for path in server.storage.rglob("_certificates/**/*") if path.is_file())
    assert stored
    assert b"PRIVATE KEY" not in stored
    assert b"CERTIFICATE" not in stored


def test_restarted_server_presents_the_certificate_at_once_and_orders_nothing(server, pebble) -> None:
    context = pebble.trusting_context()
    wait_for(lambda: None not in shown_by_all(server, context, HOST))
    orders = server.log().count("ordering a certificate")
    server.stop()
    server.start()
    assert len(shown_by_all(server, context, HOST) - {None}) == 1
    assert None not in shown_by_all(server, context, HOST)
    assert server.log().count("ordering a certificate") == orders == 1


def test_reload_keeps_the_certificate(server, pebble) -> None:
    context = pebble.trusting_context()
    wait_for(lambda: None not in shown_by_all(server, context, HOST))
    server.signal(signal.SIGHUP)
    wait_for(lambda: 'msg="TLS reloaded"' in server.log())
    assert None not in shown_by_all(server, context, HOST)


def test_replicas_share_certificates_and_answer_for_each_other(server, pebble, storage, tmp_path) -> None:
    """The second replica orders a certificate, and the ACME server finds the answer at the first one."""
    context = pebble.trusting_context()
    wait_for(lambda: None not in shown_by_all(server, context, HOST))
    config = {"http": {"workers": 1, "tls": {"letsencrypt": pebble.settings([HOST, OTHER])}}}
    with AcmeRegistryServer(tmp_path, storage, config=config) as second:
        assert shown(second.port, context, HOST) == shown(server.port, context, HOST)
        wait_for(lambda: shown(second.port, context, OTHER) is not None)
        assert second.log().count("ordering a certificate") == 1


def test_order_by_http_is_repeated_after_a_kill(names, tmp_path) -> None:
    http_port = free_port()
    with Pebble(tmp_path / "pebble", names, tls_port=free_port(), http_port=http_port) as pebble:
        acme = pebble.settings([HOST], httpaddr=f"127.0.0.1:{http_port}")
        config = {"http": {"workers": 1, "fastpath": False, "tls": {"letsencrypt": acme}}}
        with AcmeRegistryServer(tmp_path, tmp_path / "storage", config=config) as server:
            wait_for(lambda: "POST /chalZ/" in pebble.log())
            server.kill()
            # As if the pause after the order and the time of the lease were over.
            [attempts] = server.storage.rglob("_certificates/*/attempts/*")
            os.utime(attempts, (time.time() - 3600, time.time() - 3600))
            [lease] = server.storage.rglob("leases/certificates")
            lease.unlink()
            server.start()
            context = pebble.trusting_context()
            wait_for(lambda: None not in shown_by_all(server, context, HOST))
            connection = http.client.HTTPConnection("127.0.0.1", http_port, timeout=30)
            connection.request("GET", "/ui/", headers={"Host": HOST})
            response = connection.getresponse()
            assert (response.status, response.getheader("Location")) == (301, f"https://{HOST}/ui/")
            connection.close()
        # The account of the first order is used again.
        assert "There are now 2 accounts" not in pebble.log()


def test_authority_of_the_acme_server_must_be_readable(pebble, tmp_path) -> None:
    acme = {**pebble.settings([HOST]), "ca": "/none.pem"}
    server = AcmeRegistryServer(tmp_path, tmp_path / "storage", config={"http": {"tls": {"letsencrypt": acme}}})
    server.launch()
    assert server.wait() == 1
    assert "http.tls.letsencrypt.ca: /none.pem: cannot be read" in server.log()


def test_server_starts_without_an_acme_server_and_logs_the_reason(tmp_path) -> None:
    acme = {"hosts": [HOST], "directoryurl": f"https://127.0.0.1:{free_port()}/dir"}
    with AcmeRegistryServer(tmp_path, tmp_path / "storage", config={"http": {"tls": {"letsencrypt": acme}}}) as server:
        wait_for(lambda: f"no certificate for {HOST}, next order in 60 s (there is none yet): " in server.log())
        assert "refused" in server.log()
        assert server.answers()
        # Orders do not delay the end.
        server.signal(signal.SIGTERM)
        assert server.wait() == 0


def test_renewal_fails_no_request(renewals: Renewals) -> None:
    wait_for(lambda: len(renewals.serials) > 1)
    # The old certificate has expired, or will; both processes present the new one.
    context = renewals.pebble.trusting_context()
    wait_for(lambda: len(shown_by_all(renewals.server, context, RENEWED)) == 1)
    assert set(renewals.outcomes) == {"HTTP/1.1 200 OK"}, renewals.outcomes
    assert renewals.outcomes["HTTP/1.1 200 OK"] > 20
    # One more may just be on its way.
    assert 0 <= len(renewals.pebble.issued) - len(renewals.serials) <= 1
