"""Metrics of three workers that die, health, profiles and shutdown of a real server."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tests.support.commands import Completed, run_registry
from tests.support.event_endpoint import EventEndpoint
from tests.support.metrics import Scrape
from tests.support.oci import make_image
from tests.support.ports import free_port
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient

pytestmark = pytest.mark.e2e

WORKERS = 3
MEMORY = Path("/dev/shm")  # noqa: S108 - the servers create their folders there
KILLS = 6


class Watched(RegistryServer):
    """A server of ours with a debug address."""

    def __init__(self, folder: Path, **config: Any) -> None:
        self.debug_port = free_port()
        self.debug = f"http://127.0.0.1:{self.debug_port}"
        http = {
            "workers": WORKERS,
            "debug": {"addr": f"127.0.0.1:{self.debug_port}", "prometheus": {"enabled": True}},
            **config.pop("http", {}),
        }
        self.count = http["workers"]
        super().__init__(folder / "server", folder / "storage", config={"http": http, **config})

    def scrape(self) -> Scrape:
        return Scrape.of(f"{self.debug}/metrics")

    def workers(self) -> list[int]:
        return [int(text) for text in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Watched]]:
    started: list[Watched] = []

    def start_one(**config: Any) -> Watched:
        server = Watched(tmp_path, **config)
        started.append(server)
        server.start()
        # The first worker answers before the others are there.
        wait_until(lambda: server.scrape().total("registry_workers") == server.count)
        return server

    yield start_one
    for server in started:
        server.__exit__(None, None, None)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """One server, with a check, a cache and secrets, for the tests that only read from it."""
    config = {
        "http": {"secret": "hunter2secret-hunter2secret", "headers": {"X-Secret": ["hunter2header"]}},
        "health": {"storagedriver": {"enabled": True}},
        "storage": {"cache": {"blobdescriptor": "inmemory"}},
    }
    with Watched(tmp_path_factory.mktemp("watched"), **config) as server:
        wait_until(lambda: server.scrape().total("registry_workers") == server.count)
        yield server


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "did not come about"
        time.sleep(0.05)


def ask(url: str) -> tuple[int, str]:
    try:
        with urlopen(url, timeout=30) as response:  # noqa: S310 - the test's own server
            return response.status, response.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def answer_alike(url: str, status: int) -> Callable[[], bool]:
    """Whether every worker answers so: the number of tries is high enough to reach each.

    Use it for the API only, where each worker has its own queue: one worker may take all connections of the debug
    address.
    """
    return lambda: all(ask(url)[0] == status for _ in range(30))


def answers_with(url: str, status: int, part: str) -> Callable[[], bool]:
    """Whether the worker that takes the connection answers with this status, and a text that contains `part`."""

    def is_so() -> bool:
        found, text = ask(url)
        return found == status and part in text

    return is_so


class Load:
    """Clients that pull and count the responses."""

    def __init__(self, host: str, digest: str) -> None:
        self._host = host
        self._digest = digest
        self._ends = threading.Event()
        self._lock = threading.Lock()
        self.answered = 0
        self.broken = 0

    @contextmanager
    def running(self, clients: int) -> Iterator[None]:
        threads = [threading.Thread(target=self._pull) for _ in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ends.set()
            for thread in threads:
                thread.join()

    def _pull(self) -> None:
        while not self._ends.is_set():
            try:
                # A client each time, so that the kernel spreads them over the workers.
                response = RegistryClient(self._host).request("HEAD", f"/v2/team/app/manifests/{self._digest}")
            except (OSError, HTTPException):
                with self._lock:
                    self.broken += 1
                continue
            with self._lock:
                self.answered += response.status == 200


def pulls(scrape: Scrape) -> float:
    return scrape.total("registry_http_requests_total", handler="manifest", method="head", code="200")


def test_counters_of_three_workers_never_fall_while_workers_are_killed(start: Callable[..., Watched]) -> None:
    server = start()
    image = make_image(900)
    RegistryClient(server.host).push("team/app", "v1", image)
    load = Load(server.host, image.digest)
    seen: list[Scrape] = []
    with load.running(clients=4):
        for kill in range(KILLS):
            os.kill(server.workers()[kill % WORKERS], signal.SIGKILL)
            wait_until(partial(has_started, server, WORKERS + kill + 1, seen))
        wait_until(lambda: load.answered > 20)
    # Each worker shows its figures within a second.
    wait_until(partial(is_over, server, load, seen))
    last = seen[-1]
    counts = [pulls(scrape) for scrape in seen]
    assert counts == sorted(counts)
    # Every answer that a client got was counted by a process that may be dead by now; a kill between the answer's
    # count and its arrival may only make the count larger.
    assert load.answered <= counts[-1] <= load.answered + load.broken
    assert last.total("registry_worker_starts_total") == WORKERS + KILLS
    duration = "registry_http_request_duration_seconds"
    assert last.total(f"{duration}_count", handler="manifest", method="head") >= counts[-1]
    assert last.total(f"{duration}_bucket", handler="manifest", method="head", le="+Inf") >= counts[-1]


def is_over(server: Watched, load: Load, seen: list[Scrape]) -> bool:
    """Scrape once more; return whether all workers are there and all figures of the load, none of it in progress."""
    scrape = server.scrape()
    seen.append(scrape)
    memory = scrape.values("registry_worker_resident_memory_bytes")
    in_flight = scrape.total("registry_http_in_flight_requests", handler="manifest")
    counted = (scrape.total("registry_workers"), len(memory), in_flight)
    return counted == (WORKERS, WORKERS, 0) and pulls(scrape) >= load.answered


def has_started(server: Watched, workers: int, seen: list[Scrape]) -> bool:
    """Scrape once more, unless the answering worker is killed just now; return whether the workers were started."""
    with suppress(OSError, HTTPException):
        seen.append(server.scrape())
    return bool(seen) and seen[-1].total("registry_worker_starts_total") == workers


def test_promtool_finds_nothing_wrong(watched: Watched, tool: Callable[[str], str]) -> None:
    promtool = tool("promtool")
    RegistryClient(watched.host).push("team/app", "v1", make_image(901))
    checked = subprocess.run(
        [promtool, "check", "metrics"],
        input=watched.scrape().text.encode(),
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_scrape_contains_the_effects_of_a_push(start: Callable[..., Watched]) -> None:
    server = start(storage={"cache": {"blobdescriptor": "inmemory"}})
    image = make_image(902)
    for _ in range(2):
        RegistryClient(server.host).push("team/app", "v1", image)
        RegistryClient(server.host).pull("team/app", "v1")
    put = {"handler": "manifest", "method": "put", "code": "201"}
    # Each worker shows its figures within a second.
    wait_until(lambda: server.scrape().total("registry_event_loop_lag_seconds_count") >= WORKERS)
    wait_until(lambda: server.scrape().total("registry_http_requests_total", **put) == 2)
    scrape = server.scrape()
    assert scrape.total("registry_storage_action_seconds_count", driver="filesystem", action="PutContent") > 0
    assert scrape.total("registry_storage_cache_requests_total") >= scrape.total("registry_storage_cache_hits_total")
    assert scrape.total("registry_storage_cache_requests_total") > 0
    sizes = [len(content) for content in RegistryClient(server.host).pull("team/app", "v1").values()]
    blobs = scrape.total("registry_http_response_size_bytes_sum", handler="blob")
    assert blobs >= sum(sizes) - max(sizes)
    # A label is a route, never text of a client.
    assert "team" not in scrape.text


def test_notifications_are_measured(start: Callable[..., Watched]) -> None:
    with EventEndpoint() as endpoint:
        endpoints = [{"name": "ci", "url": endpoint.url(), "backoff": "1s"}]
        server = start(notifications={"endpoints": endpoints})
        RegistryClient(server.host).push("team/app", "v1", make_image(904))
        events = "registry_notifications_events_total"
        pushed = 4

        def is_told() -> bool:
            # Any worker records them and one delivers them; each shows its figures within a second.
            scrape = server.scrape()
            return {scrape.total(events, type=kind, endpoint="ci") for kind in ("Events", "Successes")} == {pushed}

        wait_until(is_told, seconds=60)
        assert len(endpoint.taken()) == pushed
        assert server.scrape().total("registry_notifications_status_total", code="200 OK") == pushed
        wait_until(lambda: server.scrape().total("registry_notifications_pending_total", endpoint="ci") == 0, 60)


def test_garbage_collection_is_measured(start: Callable[..., Watched]) -> None:
    collecting = {"enabled": True, "interval": "1s", "graceperiod": "0s", "settletime": "2s"}
    server = start(storage={"maintenance": {"garbagecollect": collecting}})
    client = RegistryClient(server.host)
    image = make_image(905)
    client.push("team/app", "v1", image)
    client.request("DELETE", f"/v2/team/app/manifests/{image.digest}").expect(202)
    removed = "registry_garbage_collection_blobs_removed"
    seen: list[Scrape] = []

    def is_collected() -> bool:
        seen.append(server.scrape())
        return seen[-1].total(removed) > 0

    wait_until(is_collected, seconds=60)
    wait_until(lambda: server.scrape().total("registry_garbage_collection_last_success_timestamp_seconds") > 0, 30)


def run_command(server: Watched, *words: str) -> Completed:
    return run_registry(words[0], str(server.config_path), "--quiet", *words[1:])


def test_commands_write_metrics_to_a_file(start: Callable[..., Watched], tmp_path: Path) -> None:
    server = start()
    RegistryClient(server.host).push("team/app", "v1", make_image(903))
    file = tmp_path / "registry.prom"
    for words, expected in (
        (("verify",), {"registry_verification_manifests": 1, "registry_verification_damage": 0}),
        (("garbage-collect", "--dry-run"), {"registry_garbage_collection_manifests": 1}),
    ):
        ran = run_command(server, *words, "--metrics-file", str(file))
        assert ran.returncode == 0, ran.stderr
        scrape = Scrape(file.read_text())
        assert {name: scrape.total(name) for name in expected} == expected
        [ended] = [name for name in scrape.names if name.endswith("_last_success_timestamp_seconds")]
        assert abs(scrape.total(ended) - time.time()) < 60

        ran = run_command(server, *words, "--metrics-file", str(tmp_path / "no" / "such.prom"))
        assert ran.returncode != 0
        assert "cannot write metrics" in ran.stderr
        assert "Traceback" not in ran.stderr


def occupy(path: Path) -> None:
    """Put a file in the place of a folder: a job of the server would create the folder again, and find it healthy."""
    while True:
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            shutil.rmtree(path, ignore_errors=True)
        else:
            return


def test_failing_store_makes_unready_after_several_failures(start: Callable[..., Watched]) -> None:
    readiness = {"interval": "300ms", "failures": 3, "successes": 2}
    checks = {"readiness": readiness, "storagedriver": {"enabled": True, "interval": "200ms", "threshold": 2}}
    server = start(health=checks)
    wait_until(answer_alike(f"{server.url}/readyz", 200))
    away = server.storage.with_name("away")
    began = time.monotonic()
    server.storage.rename(away)
    occupy(server.storage)
    wait_until(answer_alike(f"{server.url}/readyz", 503))
    assert time.monotonic() - began > 0.5, "one failure was enough"
    wait_until(answers_with(f"{server.debug}/debug/health", 503, "storagedriver_filesystem"))
    # Alive, and what needs no storage is answered.
    assert ask(f"{server.url}/healthz")[0] == ask(f"{server.url}/v2/")[0] == 200
    wait_until(answers_with(f"{server.debug}/readyz", 503, "[-]storage failed: "))
    assert server.scrape().total("registry_storage_errors_total", action="Check") > 0
    server.storage.unlink()
    away.rename(server.storage)
    wait_until(answer_alike(f"{server.url}/readyz", 200))
    wait_until(lambda: server.scrape().total("registry_ready") == 1)


def test_health_is_reported_on_both_addresses(start: Callable[..., Watched], tmp_path: Path) -> None:
    down = tmp_path / "down"
    server = start(health={"file": [{"file": str(down), "interval": "200ms"}]})
    assert ask(f"{server.debug}/debug/health") == (200, "{}")
    assert ask(f"{server.url}/healthz") == ask(f"{server.debug}/healthz") == (200, "ok")
    wait_until(lambda: ask(f"{server.url}/readyz") == (200, "ok"))
    down.touch()
    wait_until(answer_alike(f"{server.url}/v2/", 503))
    assert ask(f"{server.debug}/debug/health") == (503, f'{{"{down}":"file exists"}}')
    status, text = ask(f"{server.url}/readyz")
    assert (status, "[-]health failed: reason withheld" in text) == (503, True)
    assert ask(f"{server.url}/healthz") == (200, "ok")
    down.unlink()
    wait_until(answer_alike(f"{server.url}/v2/", 200))
    assert "/healthz" not in server.log()


class Answering(BaseHTTPRequestHandler):
    """Answers HEAD, as a server that is looked after."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Log nothing."""


@contextmanager
def neighbour() -> Iterator[str]:
    """A server that is looked after; its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_health_is_reported_as_by_distribution(
    start: Callable[..., Watched], tool: Callable[[str], str], tmp_path: Path
) -> None:
    tool("docker-registry")
    down, port = tmp_path / "down", free_port()
    with ExitStack() as stack:
        gone = stack.enter_context(ExitStack())
        other = gone.enter_context(neighbour())
        common: dict[str, Any] = {"interval": "200ms", "timeout": "1s", "threshold": 2}
        checks: dict[str, Any] = {
            "file": [{"file": str(down), "interval": "200ms"}],
            "tcp": [{"addr": other, **common}],
            "http": [{"uri": f"http://{other}/", **common}],
        }
        # One worker: nothing tells which of several answers at the debug address.
        ours = start(health=checks, http={"workers": 1})
        config = {"http": {"debug": {"addr": f"127.0.0.1:{port}"}}, "health": checks}
        theirs = stack.enter_context(
            RegistryServer.reference(tmp_path / "reference", tmp_path / "other", config=config)
        )
        reports = [f"{ours.debug}/debug/health", f"http://127.0.0.1:{port}/debug/health"]
        wait_until(lambda: [ask(report) for report in reports] == [(200, "{}")] * 2)
        down.touch()
        wait_until(lambda: [ask(report)[0] for report in reports] == [503] * 2)
        for path in ("/", "/v2/", "/v2/a/manifests/b", "/nowhere"):
            assert ask(f"{ours.url}{path}") == ask(f"{theirs.url}{path}"), path
        assert ask(reports[0]) == ask(reports[1])
        down.unlink()
        wait_until(lambda: [ask(report)[0] for report in reports] == [200] * 2)
        gone.close()
        wait_until(lambda: [len(json.loads(ask(report)[1])) for report in reports] == [2] * 2)
        assert ask(reports[0]) == ask(reports[1])


def test_any_worker_can_be_profiled_and_inspected(watched: Watched) -> None:
    processes = set()
    for worker in range(WORKERS):
        status, text = ask(f"{watched.debug}/debug/profile?seconds=0.2&worker={worker}")
        assert (status, "cumtime" in text) == (200, True)
        status, text = ask(f"{watched.debug}/debug/stacks?worker={worker}")
        assert (status, "task readiness" in text) == (200, True)
        processes |= {int(number) for number in re.findall(r"process (\d+)", text)}
    assert processes == set(watched.workers())
    assert len(re.findall("^=== worker", ask(f"{watched.debug}/debug/stacks")[1], re.MULTILINE)) == WORKERS
    for query in ("worker=3", "worker=-1", "worker=x", "seconds=0", "seconds=1e9", "seconds=nan"):
        assert ask(f"{watched.debug}/debug/profile?{query}")[0] == 400, query
    assert ask(f"{watched.debug}/debug/stacks?worker=3")[0] == 400
    assert ask(f"{watched.debug}/debug/vars")[0] == 404


def test_debug_address_shows_no_secret(watched: Watched) -> None:
    server_environment = "REGISTRY_"
    for path in ("/metrics", "/debug/health", "/debug/stacks", "/debug/profile?seconds=0.1", "/readyz?verbose"):
        status, text = ask(f"{watched.debug}{path}")
        assert status == 200
        assert "hunter2" not in text
        assert server_environment not in text


def test_draining_is_reported_while_requests_finish(start: Callable[..., Watched]) -> None:
    server = start(http={"draintimeout": "60s", "workers": 1})
    wait_until(lambda: ask(f"{server.debug}/readyz")[0] == 200)
    client = RegistryClient(server.host)
    location = client.start_upload("team/app").header("Location")
    # A request that does not end: its body stays away.
    host, port = server.host.split(":")
    path = location.removeprefix(server.url)
    with socket.create_connection((host, int(port))) as slow:
        slow.sendall(f"PATCH {path} HTTP/1.1\r\nHost: {server.host}\r\nContent-Length: 10\r\n\r\nhalf".encode())
        wait_until(lambda: server.scrape().total("registry_http_in_flight_requests") == 1)
        server.terminate()
        wait_until(lambda: ask(f"{server.debug}/readyz")[0] == 503)
        assert ask(f"{server.debug}/healthz")[0] == 200
        assert "[-]shutdown failed: the server is stopping" in ask(f"{server.debug}/readyz")[1]
        slow.sendall(b" done.")
    assert server.wait() == 0


def test_nothing_is_left_after_the_end(start: Callable[..., Watched]) -> None:
    server = start()
    # Other tests run servers at the same time; a server keeps the lock in its own folder open.
    opened = [file.readlink() for file in Path(f"/proc/{server.pid}/fd").iterdir()]
    [folder] = {path.parent for path in opened if MEMORY in path.parents and "sohu-registry-" in path.parent.name}
    assert folder.is_dir()
    assert server.stop() == 0
    assert not folder.exists()


def test_taken_debug_address_stops_the_start(watched: Watched, tmp_path: Path) -> None:
    config: dict[str, Any] = {"http": {"debug": {"addr": f"127.0.0.1:{watched.debug_port}"}}}
    second = RegistryServer(tmp_path / "second", tmp_path / "storage", config=config)
    second.launch()
    assert second.wait() == 1
    assert f"cannot listen on the debug address 127.0.0.1:{watched.debug_port}" in second.log()


def test_public_debug_address_is_logged_as_a_warning(tmp_path: Path) -> None:
    config: dict[str, Any] = {"http": {"workers": 1, "debug": {"addr": f":{free_port()}"}}}
    with RegistryServer(tmp_path / "server", tmp_path / "storage", config=config) as server:
        [line] = [line for line in server.log().splitlines() if "http.debug.addr" in line]
        assert "level=warning" in line
        assert "need no password" in line
