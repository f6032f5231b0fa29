"""Helpers for the end-to-end tests of the catalog: servers with an index, repositories in bulk, waiting."""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from entrypoints.process.workers import usable_cores
from tests.support.mariadb import Database
from tests.support.oci import make_tiny_image
from tests.support.processes import RegistryServer, ServerError
from tests.support.registry_client import Answer, RegistryClient

DEGRADED = "catalog index unavailable"
TINY = make_tiny_image()
HEAL_SECONDS = 60.0
"""The registry checks every five seconds whether an index is back; the rest is margin for a busy machine."""


def push(client: RegistryClient, *names: str) -> None:
    """Push the smallest possible image to each repository."""
    for name in names:
        client.push(name, "v1", TINY)


def make_repositories(storage: Path, names: Iterable[str]) -> None:
    """Create the files of repositories that hold one manifest each, without a registry."""
    root = storage / "docker/registry/v2/repositories"
    algorithm, _, encoded = TINY.digest.partition(":")
    for name in names:
        revision = root / name / "_manifests/revisions" / algorithm / encoded
        os.makedirs(revision)  # noqa: PTH103 - called 100,000 times
        with open(revision / "link", "w", encoding="ascii") as link:  # noqa: PTH123
            link.write(TINY.digest)


def pages(client: RegistryClient, target: str) -> Iterator[list[str]]:
    """Follow the `Link` headers of the catalog and yield each page."""
    following: str | None = target
    while following is not None:
        answer = client.request("GET", following).expect(200)
        yield json.loads(answer.body)["repositories"]
        link = answer.headers.get("Link")
        following = None if link is None else link.removeprefix("<").removesuffix('>; rel="next"')


def catalog_when_back(client: RegistryClient) -> list[str]:
    """Return the first list of names, after the catalog has stopped answering 503."""
    answers: list[Answer] = []

    def is_back() -> bool:
        answers.append(client.request("GET", "/v2/_catalog?n=1000").expect(200, 503))
        return answers[-1].status == HTTPStatus.OK

    wait_until(is_back)
    names: list[str] = json.loads(answers[-1].body)["repositories"]
    return names


def wait_until(condition: Callable[[], bool], *, seconds: float = HEAL_SECONDS) -> None:
    """Return as soon as a condition holds; fail if it does not hold in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"did not come true within {seconds} s")
        time.sleep(0.05)


def assert_said_once(server: RegistryServer, text: str) -> None:
    """Assert that each worker process of a server logged `text` at most once, and at least one did."""
    assert 1 <= server.log().count(text) <= usable_cores()


@contextmanager
def mysql_registries(folder: Path, database: Database, *, count: int = 1) -> Iterator[list[RegistryServer]]:
    """Start replicas on one folder and one table, all at once; afterwards check their logs for secrets."""
    environment = {"SEARCH_BACKEND": "MYSQL", "SEARCH_BACKEND_MYSQL": f"{database.dsn}?loc=Local&parseTime=true"}
    with registries(folder, environment, count=count) as servers:
        yield servers
    for server in servers:
        assert server.log()
        for secret in (database.user, database.password, "p@ss", "parseTime"):
            assert secret not in server.log()


@contextmanager
def registries(
    folder: Path, environment: dict[str, str], *, count: int = 1, config: dict[str, Any] | None = None
) -> Iterator[list[RegistryServer]]:
    """Start replicas on one folder at once, and stop them at the end."""
    servers = [
        RegistryServer(folder / f"replica-{number}", folder / "storage", environment=environment, config=config)
        for number in range(count)
    ]
    with ExitStack() as stack:
        for server in servers:
            stack.callback(server.kill)
            server.launch()
        for server in servers:
            server.wait_until_ready()
        yield servers
        for server in servers:
            if server.stop() != 0:
                raise ServerError(f"did not stop in good order:\n{server.log()[-4000:]}")
