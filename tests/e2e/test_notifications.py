"""Every acknowledged push is told at least once, in order, whatever dies; and what the endpoint cannot take is kept."""

import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.event_endpoint import EventEndpoint, unreliable
from tests.support.oci import Image, make_image
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient

pytestmark = pytest.mark.e2e

KILL_ROUNDS = int(os.environ.get("NOTIFICATION_KILLS", "10"))
"""For each of two places of the outbox."""
PUSHERS = 3
OUTBOX = {"takeover": "1s", "poll": "200ms"}


@pytest.fixture
def endpoint() -> Iterator[EventEndpoint]:
    with EventEndpoint() as opened:
        yield opened


def configuration(endpoint: EventEndpoint, *, outbox: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    receiver = {"name": "receiver", "url": endpoint.url(), "backoff": "200ms", "threshold": 3, "timeout": "2s"}
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
    """Pushes, moves and deletes tags in a repository of its own, one after the other, and notes what was answered."""

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
            except OSError:
                return

    def _push(self, image: Image, tag: str) -> None:
        for blob in image.blobs:
            self._registry.push_blob(self.repository, blob.data)
            self.acknowledged.append(("push", blob.digest))
        self._registry.push_manifest(self.repository, tag, image.manifest)
        self.acknowledged.append(("push", tag))


def told(endpoint: EventEndpoint, repository: str) -> list[tuple[str, str]]:
    """What the endpoint took of a repository, each event once, in the order of the first times."""
    first: dict[str, Mapping[str, Any]] = {}
    for each in endpoint.taken(repository=repository):
        first.setdefault(each.event["id"], each.event)
    return [
        (event["action"], event["target"].get("tag") or event["target"]["digest"])
        for event in first.values()
        if event["action"] != "pull"
    ]


@pytest.mark.parametrize("place", ["storage", "local"])
@pytest.mark.timeout(120 + 15 * KILL_ROUNDS)
def test_acknowledged_changes_are_told_across_kills(
    place: str, endpoint: EventEndpoint, serve: Callable[..., RegistryServer], tmp_path: Path
) -> None:
    seed = 20_261_124
    chance = random.Random(seed)
    endpoint.answer = unreliable(seed, 0.05)
    outbox = {"path": str(tmp_path / "outbox")} if place == "local" else {}
    server = serve(configuration(endpoint, outbox=outbox))
    pushers = [Pusher(server.host, f"killed/{number}", 1_000_000 * number) for number in range(PUSHERS)]
    for _ in range(KILL_ROUNDS):
        with ThreadPoolExecutor(PUSHERS) as pool:
            done = [pool.submit(pusher.work_until_killed) for pusher in pushers]
            time.sleep(chance.uniform(0.3, 3.0))
            server.kill()
        for future in done:
            future.result()
        server.start()

    def missing() -> dict[str, set[tuple[str, str]]]:
        return {each.repository: set(each.acknowledged) - set(told(endpoint, each.repository)) for each in pushers}

    wait_until(lambda: not any(missing().values()), 60, missing)
    taken = endpoint.taken()
    repeats = len(taken) - len({each.event["id"] for each in taken})
    acknowledged = sum(len(each.acknowledged) for each in pushers)
    print(f"{place}: {KILL_ROUNDS} kills, {acknowledged} acknowledged, {len(taken)} taken, {repeats} repeats")
    for pusher in pushers:
        assert len(pusher.acknowledged) > KILL_ROUNDS, "there was load"
        # What was not acknowledged may be told too; what was, comes in its order.
        wanted = set(pusher.acknowledged)
        heard = list(dict.fromkeys(each for each in told(endpoint, pusher.repository) if each in wanted))
        assert heard == list(dict.fromkeys(pusher.acknowledged))
