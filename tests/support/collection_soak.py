"""Soak test: clients push, pull and delete continuously while garbage is collected continuously."""

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from typing_extensions import override

from tests.support.oci import Image, Index, make_image, make_index
from tests.support.registry_client import RegistryClient, UnexpectedAnswerError

COLLECTING: Mapping[str, str] = {
    "REGISTRY_STORAGE_MAINTENANCE_GARBAGECOLLECT": "{enabled: true, interval: 1s, graceperiod: 6s, settletime: 2s, "
    "deleteuntagged: true, requestspersecond: 0}",
    "REGISTRY_STORAGE_TRASH": "{keep: 0s}",
    "REGISTRY_STORAGE_CACHE": "{blobdescriptor: inmemory}",
    "REGISTRY_STORAGE_DELETE": "{enabled: true}",
}
"""Environment of a server that collects garbage without a pause, far more often than in production."""

_REPOSITORIES: Sequence[str] = ("soak/a", "soak/b", "soak/b/c")
_IMAGES = 60


@dataclass
class SoakReport:
    """Actions of the clients, and the errors they met."""

    done: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)


class Soak:
    """Runs clients in parallel, each with its own tags; all clients use the same few images.

    Args:
        hosts: the replicas; each request goes to a random one.
        seed: determines the actions of the clients.
        programs: push and pull by a command-line client, called occasionally with a repository and a tag.
    """

    def __init__(
        self, hosts: Sequence[str], *, seed: int = 0, programs: Sequence[Callable[[str, str], None]] = ()
    ) -> None:
        self._hosts = hosts
        self._seed = seed
        self._programs = programs
        images = [make_image(seed * 1000 + number, layer_sizes=(2_000, 50_000)) for number in range(_IMAGES)]
        indexes = [make_index(images[start : start + 2]) for start in range(0, _IMAGES, 2)]
        self._roots: list[Image | Index] = [*images, *indexes]
        self._report = SoakReport()
        self._lock = threading.Lock()

    def run(self, *, seconds: float, clients: int) -> SoakReport:
        """Run `clients` clients for `seconds` seconds and return the report."""
        ends_at = time.monotonic() + seconds
        threads = [threading.Thread(target=self._work, args=(number, ends_at)) for number in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return self._report

    def _work(self, number: int, ends_at: float) -> None:
        chooser = random.Random(self._seed * 100 + number)
        tags: dict[tuple[str, str], Image | Index] = {}
        while time.monotonic() < ends_at:
            try:
                self._act(chooser, number, tags)
            except (UnexpectedAnswerError, OSError, AssertionError) as error:
                with self._lock:
                    self._report.errors.append(f"{time.time():.3f} client {number}: {error!r}"[:2000])

    def _act(self, chooser: random.Random, number: int, tags: dict[tuple[str, str], Image | Index]) -> None:
        client = _AnyReplica(self._hosts, chooser)
        where = (chooser.choice(_REPOSITORIES), f"client{number}-{chooser.randrange(3)}")
        action = chooser.choices(["push", "pull", "delete", "wait", "program"], [4, 6, 3, 1, 0.3])[0]
        if action == "push":
            root = chooser.choice(self._roots)
            client.push(*where, root)
            tags[where] = root
        elif action == "pull" and where in tags:
            pulled = client.pull(*where)
            assert tags[where].digest in pulled, "another image"
        elif action == "delete" and where in tags:
            client.request("DELETE", f"/v2/{where[0]}/manifests/{where[1]}").expect(202)
            del tags[where]
        elif action == "program" and self._programs:
            chooser.choice(self._programs)(where[0], f"program{number}")
        else:
            action = "wait"
            time.sleep(chooser.random())
        with self._lock:
            self._report.done[action] += 1


class _AnyReplica(RegistryClient):
    """Client that sends each request to one of several replicas."""

    def __init__(self, hosts: Sequence[str], chooser: random.Random) -> None:
        super().__init__(hosts[0])
        self._hosts = hosts
        self._chooser = chooser

    @override
    def _connection(self) -> http.client.HTTPConnection:
        self._host = self._chooser.choice(self._hosts)
        return super()._connection()
