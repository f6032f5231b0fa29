"""Several processes on one address: connections spread over them, replacement, reload and shutdown."""

import http.client
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.oci import digest_of, make_image
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient

pytestmark = pytest.mark.e2e

KILLS = 6


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RegistryServer]:
    config: dict[str, Any] = {"http": {"workers": 3, "secret": "shared by all workers"}}
    with RegistryServer(tmp_path / "server", tmp_path / "storage", config=config) as started:
        # The first worker answers before the others are there.
        wait_until(lambda: len(children_of(started.pid)) == 3)
        yield started


def children_of(process: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def wait_until(condition: Any, seconds: float = 60) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "did not come about"
        time.sleep(0.05)


def test_workers_share_images_and_uploads(server: RegistryServer) -> None:
    assert len(children_of(server.pid)) == 3
    image = make_image(300)
    for number in range(6):
        # A client of its own each: the kernel gives its connection to any of the workers.
        RegistryClient(server.host).push(f"team/app{number}", "v1", image)
    for number in range(6):
        assert image.digest in RegistryClient(server.host).pull(f"team/app{number}", "v1")

    blob = os.urandom(50_000)
    location = RegistryClient(server.host).start_upload("team/upload").header("Location")
    for start in range(0, len(blob), 10_000):
        chunk = blob[start : start + 10_000]
        location = RegistryClient(server.host).append(location, chunk).expect(202).header("Location")
    RegistryClient(server.host).finish_upload(location, digest_of(blob)).expect(201)
    assert RegistryClient(server.host).get_blob("team/upload", digest_of(blob)) == blob


def test_dead_worker_is_replaced_without_failed_requests(server: RegistryServer) -> None:
    image = make_image(301)
    RegistryClient(server.host).push("team/app", "v1", image)
    for _ in range(3):
        before = children_of(server.pid)
        os.kill(before[0], signal.SIGKILL)
        wait_until(
            lambda before=before: set(children_of(server.pid)) != set(before) and len(children_of(server.pid)) == 3
        )
        for _ in range(9):
            assert image.digest in RegistryClient(server.host).pull("team/app", "v1")


def test_load_continues_while_workers_are_killed(server: RegistryServer) -> None:
    # A client whose connection is cut retries, as docker and containerd do; content answered with 201 must exist.
    is_over = threading.Event()
    acknowledged: list[tuple[str, str, str]] = []
    cuts: list[str] = []

    def work(number: int) -> None:
        turn = 0
        while not is_over.is_set():
            turn += 1
            name, image = f"load/client{number}", make_image(1000 * number + turn, layer_sizes=(50_000,))
            try:
                RegistryClient(server.host).push(name, f"v{turn}", image)
            except (OSError, http.client.HTTPException) as error:
                cuts.append(type(error).__name__)
            else:
                acknowledged.append((name, f"v{turn}", image.digest))

    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(work, number) for number in range(4)]
        try:
            for _ in range(KILLS):
                before = len(acknowledged)
                wait_until(lambda before=before: len(acknowledged) > before + 4)
                wait_until(lambda: len(children_of(server.pid)) > 1)
                os.kill(random.choice(children_of(server.pid)), signal.SIGKILL)
        finally:
            is_over.set()
        for client in clients:
            client.result(60)
    assert len(cuts) <= 4 * KILLS
    for name, tag, digest in acknowledged:
        assert digest in RegistryClient(server.host).pull(name, tag)
    wait_until(lambda: len(children_of(server.pid)) == 3)


def test_stop_drains_all_workers(server: RegistryServer) -> None:
    workers = children_of(server.pid)
    assert server.stop() == 0
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)


def test_workers_end_with_their_parent(server: RegistryServer) -> None:
    workers = children_of(server.pid)
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not any(is_running(worker) for worker in workers))


def is_running(process: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False


def test_worker_that_cannot_start_ends_the_server(tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    server = RegistryServer(tmp_path / "server", storage, config={"http": {"workers": 3}})
    storage.rmdir()
    storage.write_text("not a folder")
    server.launch()
    assert server.wait() == 4
