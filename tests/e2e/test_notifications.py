"""Every acknowledged change is delivered at least once, in order, across kills; undeliverable events are kept."""

import json
import os
import random
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Completed, run_registry
from tests.support.event_endpoint import EventEndpoint, unreliable
from tests.support.metrics import Scrape
from tests.support.oci import Image, make_image
from tests.support.ports import free_port
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient

pytestmark = pytest.mark.e2e

KILL_ROUNDS = int(os.environ.get("NOTIFICATION_KILLS", "4"))
"""For each of two places of the outbox."""
PUSHERS = 3
OUTBOX = {"takeover": "1s", "poll": "200ms"}
PATIENT = {"takeover": "60s"}
"""No process takes over from one that a busy machine suspends, so each event arrives once."""


@pytest.fixture
def endpoint() -> Iterator[EventEndpoint]:
    with EventEndpoint() as opened:
        yield opened


def configuration(endpoint: EventEndpoint, *, outbox: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    receiver = {"name": "receiver", "url": endpoint.url(), "backoff": "200ms", "threshold": 3, "timeout": "30s"}
    return {
        "http": {"workers": 2},
        "notifications": {"endpoints": [receiver | options], "outbox": OUTBOX | (outbox or {})},
    }


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., RegistryServer]]:
    started: list[RegistryServer] = []

    def start(config: dict[str, Any], number: int = 0) -> RegistryServer:
        server = RegistryServer(tmp_path / f"server{number}", tmp_path / "storage", config=config)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.kill()


def wait_until(condition: Callable[[], bool], seconds: float, what: Callable[[], object]) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, what()
        time.sleep(0.1)


class Pusher:
    """Pushes, moves and deletes tags in a repository of its own, one after the other, and notes the responses."""

    def __init__(self, host: str, repository: str, seed: int) -> None:
        self.repository = repository
        self.acknowledged: list[tuple[str, str]] = []
        """Action and tag, or digest of a blob, in the order of the answers."""
        self._registry = RegistryClient(host)
        self._seed = seed

    def work_until_killed(self) -> None:
        while True:
            self._seed += 1
            try:
                self._push(make_image(self._seed, layer_sizes=(300,)), f"v{self._seed}")
                if self._seed % 5 == 0:
                    self._registry.delete_manifest(self.repository, f"v{self._seed}")
                    self.acknowledged.append(("delete", f"v{self._seed}"))
            except (OSError, HTTPException):
                return

    def _push(self, image: Image, tag: str) -> None:
        for blob in image.blobs:
            self._registry.push_blob(self.repository, blob.data)
            self.acknowledged.append(("push", blob.digest))
        self._registry.push_manifest(self.repository, tag, image.manifest)
        self.acknowledged.append(("push", tag))


def told(endpoint: EventEndpoint, repository: str) -> list[tuple[str, str]]:
    """Return the received events of a repository, each once, in the order of their first arrival."""
    first: dict[str, Mapping[str, Any]] = {}
    for each in endpoint.taken(repository=repository):
        first.setdefault(each.event["id"], each.event)
    return [
        (event["action"], event["target"].get("tag") or event["target"]["digest"])
        for event in first.values()
        if event["action"] != "pull"
    ]


@pytest.mark.parametrize("place", ["storage", "local"])
@pytest.mark.timeout(300 + 60 * KILL_ROUNDS)
def test_acknowledged_changes_are_delivered_across_kills(
    place: str, endpoint: EventEndpoint, serve: Callable[..., RegistryServer], tmp_path: Path
) -> None:
    seed = 20_261_124
    chance = random.Random(seed)
    endpoint.answer = unreliable(seed, 0.03)
    outbox = {"path": str(tmp_path / "outbox")} if place == "local" else {}
    server = serve(configuration(endpoint, outbox=outbox))
    pushers = [Pusher(server.host, f"killed/{number}", 1_000_000 * number) for number in range(PUSHERS)]
    for _ in range(KILL_ROUNDS):
        with ThreadPoolExecutor(PUSHERS) as pool:
            before = [len(pusher.acknowledged) for pusher in pushers]
            done = [pool.submit(pusher.work_until_killed) for pusher in pushers]
            try:
                wait_until(partial(have_worked, pushers, before), 60, server.log)
                time.sleep(chance.uniform(0, 1))
            finally:
                server.kill()
        for future in done:
            future.result()
        server.start()

    def missing() -> dict[str, set[tuple[str, str]]]:
        return {each.repository: set(each.acknowledged) - set(told(endpoint, each.repository)) for each in pushers}

    wait_until(lambda: not any(missing().values()), 60 + 2 * KILL_ROUNDS, missing)
    taken = endpoint.taken()
    repeats = len(taken) - len({each.event["id"] for each in taken})
    acknowledged = sum(len(each.acknowledged) for each in pushers)
    print(f"{place}: {KILL_ROUNDS} kills, {acknowledged} acknowledged, {len(taken)} taken, {repeats} repeats")
    for pusher in pushers:
        # Events of unacknowledged operations may arrive too; those of acknowledged ones arrive in order.
        wanted = set(pusher.acknowledged)
        heard = list(dict.fromkeys(each for each in told(endpoint, pusher.repository) if each in wanted))
        assert heard == list(dict.fromkeys(pusher.acknowledged))


def have_worked(pushers: list[Pusher], before: list[int]) -> bool:
    """Whether every pusher got several answers since it had so many."""
    return all(len(pusher.acknowledged) > count + 3 for pusher, count in zip(pushers, before, strict=True))


def two_endpoints(endpoint: EventEndpoint, **second: Any) -> dict[str, Any]:
    """A configuration with a second endpoint at the same server, under another path."""
    config = configuration(endpoint)
    first = config["notifications"]["endpoints"][0]
    config["notifications"]["endpoints"].append({**first, "name": "second", "url": endpoint.url("/second"), **second})
    return config


def pushed_tags(endpoint: EventEndpoint, path: str = "/events") -> list[str]:
    return [
        each.event["target"]["tag"]
        for each in endpoint.taken(path=path)
        if each.event["action"] == "push" and "tag" in each.event["target"]
    ]


def heard(endpoint: EventEndpoint, path: str = "/events") -> list[str]:
    """Return the tags in the order of their first arrival: on a busy machine, some events may arrive twice."""
    return list(dict.fromkeys(pushed_tags(endpoint, path)))


def push_tags(server: RegistryServer, *tags: str, repository: str = "team/app") -> None:
    image = make_image(7)
    registry = RegistryClient(server.host)
    for blob in image.blobs:
        registry.push_blob(repository, blob.data)
    for tag in tags:
        registry.push_manifest(repository, tag, image.manifest)


def command(server: RegistryServer, *words: str, name: str = "notifications") -> Completed:
    return run_registry(name, *words, str(server.config_path))


def test_endpoint_that_is_down_blocks_no_request_and_receives_everything_later(
    endpoint: EventEndpoint, serve: Callable[..., RegistryServer]
) -> None:
    endpoint.answer = lambda path, _event: 200 if path == "/events" else 0
    server = serve(two_endpoints(endpoint))
    tags = [f"v{number}" for number in range(20)]
    push_tags(server, *tags)
    wait_until(lambda: heard(endpoint) == tags, 60, lambda: pushed_tags(endpoint))
    assert pushed_tags(endpoint, "/second") == []
    endpoint.answer = lambda _path, _event: 200
    wait_until(lambda: heard(endpoint, "/second") == tags, 60, lambda: pushed_tags(endpoint, "/second"))


def test_endpoint_that_hangs_receives_everything_later(
    endpoint: EventEndpoint, serve: Callable[..., RegistryServer]
) -> None:
    endpoint.delay_seconds = 0.5
    server = serve(configuration(endpoint, timeout="100ms"))
    push_tags(server, "v1", "v2")
    time.sleep(1)
    endpoint.close()
    push_tags(server, "v3")
    endpoint.delay_seconds = 0.0
    endpoint.open()
    wait_until(lambda: "v3" in pushed_tags(endpoint), 60, lambda: pushed_tags(endpoint))
    # The events that it received after the sender's time-out arrive again.
    assert heard(endpoint) == ["v1", "v2", "v3"]


def test_refused_events_are_listed_and_replayed(endpoint: EventEndpoint, serve: Callable[..., RegistryServer]) -> None:
    endpoint.answer = lambda _path, event: 422 if event["target"].get("tag") == "bad" else 200
    server = serve(configuration(endpoint, ignore={"mediatypes": ["application/octet-stream"]}))
    push_tags(server, "good", "bad", "better")
    wait_until(lambda: heard(endpoint) == ["good", "better"], 60, lambda: pushed_tags(endpoint))
    wait_until(lambda: command(server, "list").stdout != "", 60, server.log)
    [letter] = [json.loads(line) for line in command(server, "list", "--json").stdout.splitlines()]
    assert (letter["endpoint"], letter["event"]["target"]["tag"], letter["attempts"]) == ("receiver", "bad", 5)

    endpoint.answer = lambda _path, _event: 200
    replayed = command(server, "replay", "--id", letter["event"]["id"])
    assert replayed.stdout == "1 replayed\n", replayed.stderr
    wait_until(lambda: "bad" in pushed_tags(endpoint), 60, lambda: pushed_tags(endpoint))
    assert endpoint.taken()[-1].event == letter["event"]
    assert command(server, "list").stdout == ""


def test_server_delivers_events_of_commands(
    endpoint: EventEndpoint, serve: Callable[..., RegistryServer], tmp_path: Path
) -> None:
    server = serve(configuration(endpoint, outbox={"path": str(tmp_path / "outbox")}))
    push_tags(server, "v1")
    deleted = command(server, "delete", "team/app", name="repository")
    assert deleted.returncode == 0, deleted.stderr
    wait_until(lambda: any(each.event["action"] == "delete" for each in endpoint.taken()), 60, endpoint.taken)
    [gone] = [each.event for each in endpoint.taken() if each.event["action"] == "delete"]
    assert (gone["target"], gone["actor"]) == ({"repository": "team/app"}, {"name": "the command line"})


def test_metrics_of_all_workers_count_the_queue(endpoint: EventEndpoint, serve: Callable[..., RegistryServer]) -> None:
    config = configuration(endpoint, outbox=PATIENT)
    port = free_port()
    config["http"]["debug"] = {"addr": f"127.0.0.1:{port}", "prometheus": {"enabled": True}}
    server = serve(config)
    push_tags(server, "v1", "v2", "v3")
    image = make_image(7)
    events = len(image.blobs) + 3

    def told(kind: str) -> float:
        scrape = Scrape.of(f"http://127.0.0.1:{port}/metrics")
        return scrape.total("registry_notifications_events_total", type=kind, endpoint="receiver")

    wait_until(lambda: (told("Events"), told("Successes")) == (events, events), 60, lambda: told("Events"))
    assert Scrape.of(f"http://127.0.0.1:{port}/metrics").total("registry_notifications_status_total") == events


def test_stop_delivers_what_it_can_and_keeps_the_rest(
    endpoint: EventEndpoint, serve: Callable[..., RegistryServer]
) -> None:
    config = configuration(endpoint, outbox={"poll": "1h"})
    # The last one of several processes might find that another one delivers, and end before it is done.
    config["http"]["workers"] = 1
    server = serve(config)
    registry = RegistryClient(server.host)
    push_tags(server, "v1")
    registry.pull("team/app", "v1")
    # With so rare looks, what another process recorded waits; so do pulls, for a second.
    assert server.stop() == 0
    assert "v1" in pushed_tags(endpoint)

    endpoint.close()
    server.start()
    push_tags(server, "v2")
    assert server.stop() == 0
    endpoint.open()
    server.start()
    wait_until(lambda: "v2" in pushed_tags(endpoint), 60, lambda: server.log()[-2000:])
    # Before it pushes a blob, a client asks whether it is there: a pull by HEAD.
    pulls = {each.event["id"] for each in endpoint.taken() if each.event["request"]["method"] == "GET"}
    assert len(pulls) == 1 + len(make_image(7).blobs)


def test_dead_worker_is_followed_by_another_that_delivers(
    endpoint: EventEndpoint, serve: Callable[..., RegistryServer]
) -> None:
    server = serve(configuration(endpoint))
    tags = []
    for number in range(6):
        tags.append(f"v{number}")
        push_tags(server, tags[-1])
        workers = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        os.kill(int(random.Random(number).choice(workers)), signal.SIGKILL)
        time.sleep(0.5)
    wait_until(lambda: set(pushed_tags(endpoint)) >= set(tags), 60, lambda: server.log()[-2000:])
    assert heard(endpoint) == tags


def test_replicas_and_workers_keep_the_order_of_a_repository(
    endpoint: EventEndpoint, serve: Callable[..., RegistryServer]
) -> None:
    servers = [serve(configuration(endpoint), number) for number in range(2)]
    tags = [f"v{number}" for number in range(40)]
    for number, tag in enumerate(tags):
        push_tags(servers[number % 2], tag)
    wait_until(lambda: set(pushed_tags(endpoint)) >= set(tags), 60, lambda: pushed_tags(endpoint))
    # On a busy machine a lease of a second may go over to the other one; then some come twice.
    assert heard(endpoint) == tags


def test_endpoints_change_by_a_reload(endpoint: EventEndpoint, serve: Callable[..., RegistryServer]) -> None:
    config = configuration(endpoint, disabled=True)
    # One process logs for all that it reloaded, and another one might be slower.
    config["http"]["workers"] = 1
    server = serve(config)
    push_tags(server, "before")
    document = json.loads(server.config_path.read_text())
    document["notifications"] = configuration(endpoint)["notifications"]
    server.config_path.write_text(json.dumps(document))
    server.signal(signal.SIGHUP)
    wait_until(lambda: "configuration reloaded" in server.log(), 60, server.log)
    push_tags(server, "after")
    wait_until(lambda: heard(endpoint) == ["after"], 60, lambda: pushed_tags(endpoint))
    assert "take effect at the next start" not in server.log()


def test_secrets_of_endpoints_are_in_no_log(endpoint: EventEndpoint, serve: Callable[..., RegistryServer]) -> None:
    endpoint.answer = lambda _path, _event: 500
    config = configuration(endpoint, headers={"Authorization": ["Bearer hunter2"]})
    config["log"] = {"level": "debug"}
    server = serve(config)
    push_tags(server, "v1")
    wait_until(lambda: "endpoint is down" in server.log(), 60, server.log)
    assert endpoint.deliveries[0].headers["Authorization"] == "Bearer hunter2"
    assert "hunter2" not in server.log()


def test_events_are_those_of_debians_registry_to_the_byte(
    endpoint: EventEndpoint, tool: Callable[[str], str], tmp_path: Path
) -> None:
    """The same requests to both, except for what differs between any two requests."""
    tool("docker-registry")
    bodies = {}
    for name, start in (("ours", RegistryServer), ("debian", RegistryServer.reference)):
        config = configuration(endpoint, outbox=PATIENT)
        config["notifications"]["events"] = {"includereferences": True}
        config["notifications"]["endpoints"][0]["url"] = endpoint.url(f"/{name}")
        if name == "ours":
            # Debian's registry runs without authentication.
            config["http"] = config.get("http", {}) | {"trustedproxies": ["127.0.0.0/8"]}
        with start(tmp_path / name, tmp_path / f"{name}-storage", config=config) as server:
            expected = exercise(RegistryClient(server.host))
            wait_until(partial(has_taken, endpoint, f"/{name}", expected), 60, partial(endpoint.taken, path=f"/{name}"))
            bodies[name] = sorted(normal(each.body.decode()) for each in endpoint.taken(path=f"/{name}"))
    assert bodies["ours"] == bodies["debian"]


def has_taken(endpoint: EventEndpoint, path: str, count: int) -> bool:
    return len(endpoint.taken(path=path)) == count


def exercise(registry: RegistryClient) -> int:
    """Perform each operation that distribution publishes; return the number of events."""
    image = make_image(1, layer_sizes=(200,))
    registry.push("a/b", "v1", image)
    accept = {"Accept": image.manifest.media_type}
    registry.request("GET", "/v2/a/b/manifests/v1", headers=accept | {"User-Agent": "x<&>\u00fc"}).expect(200)
    registry.request("HEAD", f"/v2/a/b/manifests/{image.digest}", headers=accept | {"X-Forwarded-For": "9.9.9.9"})
    layer = image.blobs[-1].digest
    registry.request("GET", f"/v2/a/b/blobs/{layer}").expect(200)
    registry.request("HEAD", f"/v2/a/b/blobs/{layer}").expect(200)
    registry.request("POST", f"/v2/c/blobs/uploads/?mount={layer}&from=a/b").expect(201)
    registry.request("DELETE", f"/v2/a/b/blobs/{layer}").expect(202)
    registry.request("DELETE", f"/v2/a/b/manifests/{image.digest}").expect(202)
    return len(image.blobs) + 1 + 2 + 2 + 1 + 1 + 2


def normal(body: str) -> str:
    """Leave out ids, times and ports."""
    body = re.sub(r'"(id|timestamp|instanceID)": "[^"]+"', r'"\1": "…"', body)
    body = re.sub(r"127\.0\.0\.1:[0-9]+", "127.0.0.1:…", body)
    return re.sub(r'("addr": "[A-Za-z0-9.-]+):[0-9]+"', r'\1:…"', body)
