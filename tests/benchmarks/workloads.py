"""The measurements: one function for each row of the table, with the same conditions for every registry."""

import os
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from tests.benchmarks.content import (
    IMAGE,
    MIB,
    PULLED_IMAGES,
    PULLED_REPOSITORY,
    READ_REPOSITORY,
    SMALL_BLOB,
    LargeBlob,
)
from tests.benchmarks.usage import cpu_seconds
from tests.benchmarks.wire import Connection, WireError, connected, expect, follow, push_blob, scratch_file
from tests.support.oci import OCI_MANIFEST, digest_of, make_image
from tests.support.processes import ServerProcess
from tests.support.tools import find_tool

WRK_CONNECTIONS = 16
IMAGE_CLIENTS = 8
CLIENT_PROCESSES = 2
PUSHES = 4
"""Large blobs in one measurement; made one by one, since their content must be new."""


@dataclass(frozen=True)
class Subject:
    """A running registry that holds the prepared content."""

    server: ServerProcess
    drop_blob: Callable[[str], None]
    """Removes a pushed blob from the store, so that the rounds do not fill it."""
    scratch: Path
    large: LargeBlob
    seconds: float
    """How long a measurement that counts requests runs."""


@dataclass(frozen=True)
class Sample:
    """One measurement."""

    rate: float
    """Operations or MiB per second."""
    cpu_ms: float
    """Processor time of the server for one operation, or for one large blob."""
    latencies_ms: dict[str, float] = field(default_factory=dict)
    """p50 and p99, where requests are counted one by one."""


@dataclass(frozen=True)
class Workload:
    """A row of the table."""

    name: str
    unit: str
    measure: Callable[[Subject], Sample]


def manifest_by_tag(subject: Subject) -> Sample:
    return wrk(subject, f"/v2/{READ_REPOSITORY}/manifests/v1")


def manifest_by_digest(subject: Subject) -> Sample:
    return wrk(subject, f"/v2/{READ_REPOSITORY}/manifests/{IMAGE.digest}")


def manifest_by_tag_alone(subject: Subject) -> Sample:
    """Requests one after another, which share no work."""
    return wrk(subject, f"/v2/{READ_REPOSITORY}/manifests/v1", connections=1)


def manifest_by_digest_alone(subject: Subject) -> Sample:
    """Requests one after another, which share no work."""
    return wrk(subject, f"/v2/{READ_REPOSITORY}/manifests/{IMAGE.digest}", connections=1)


def different_manifests_by_tag(subject: Subject) -> Sample:
    """Requests at the same time share no work."""
    return wrk_each(subject, [f"/v2/{PULLED_REPOSITORY}/manifests/v{number}" for number in range(len(PULLED_IMAGES))])


def different_manifests_by_digest(subject: Subject) -> Sample:
    return wrk_each(subject, [f"/v2/{PULLED_REPOSITORY}/manifests/{image.digest}" for image in PULLED_IMAGES])


def different_blobs(subject: Subject) -> Sample:
    return wrk_each(subject, [f"/v2/{PULLED_REPOSITORY}/blobs/{image.blobs[0].digest}" for image in PULLED_IMAGES])


def small_blob(subject: Subject) -> Sample:
    return wrk(subject, f"/v2/{READ_REPOSITORY}/blobs/{SMALL_BLOB.digest}")


def redirected_blob(subject: Subject) -> Sample:
    path = f"/v2/{READ_REPOSITORY}/blobs/{SMALL_BLOB.digest}"
    with connected(subject.server.port) as connection:
        # A server that has answered a HEAD reads the link of the blob from its cache, as after a push.
        connection.request("HEAD", path, keep_body=False)
        expect(connection.request("GET", path), 307)
    return wrk(subject, path)


def redirected_blobs(subject: Subject) -> Sample:
    """Requests for the blobs of `PULLED_IMAGES` in turn, after a second in which each process was asked for them."""
    paths = [f"/v2/{PULLED_REPOSITORY}/blobs/{blob.digest}" for image in PULLED_IMAGES for blob in image.blobs]
    with connected(subject.server.port) as connection:
        for path in paths:
            connection.request("HEAD", path, keep_body=False)
            expect(connection.request("GET", path), 307)
    wrk_each(replace(subject, seconds=1), paths)
    return wrk_each(subject, paths)


def tag_list(subject: Subject) -> Sample:
    return wrk(subject, f"/v2/{READ_REPOSITORY}/tags/list", connections=4)


def catalog(subject: Subject) -> Sample:
    """Whole listings, following every `Link`, one after the other."""
    with connected(subject.server.port) as connection, _Meter(subject) as meter:
        deadline = time.monotonic() + subject.seconds
        while time.monotonic() < deadline:
            target: str | None = "/v2/_catalog?n=1000"
            while target:
                reply = expect(connection.request("GET", target, keep_body=False), 200)
                link = re.match(r"<([^>]*)>", reply.headers.get("link", ""))
                target = link[1] if link else None
            meter.operations += 1
    return meter.sample()


def pull(connections: int, *, from_store: bool = False) -> Callable[[Subject], Sample]:
    """Pull the large blob on several connections at once, repeatedly; from the store if the registry redirects."""

    def measure(subject: Subject) -> Sample:
        target = f"/v2/{READ_REPOSITORY}/blobs/{subject.large.digest}"
        deadline = time.monotonic() + subject.seconds

        def read(_number: int) -> int:
            pulled, stores = 0, dict[int, Connection]()
            while not pulled or time.monotonic() < deadline:
                with connected(subject.server.port) as connection:
                    reply = connection.request("GET", target, keep_body=False)
                    expect(follow(reply, stores) if from_store else reply, 200)
                pulled += 1
            for store in stores.values():
                store.close()
            return pulled

        return _move_large_blobs(subject, connections, [read])

    return measure


def push(connections: int) -> Callable[[Subject], Sample]:
    """Push a new large blob on each of several connections at once, a few times."""

    def measure(subject: Subject) -> Sample:
        pushes = [_Push(subject, connections) for _ in range(PUSHES // connections)]
        sample = _move_large_blobs(subject, connections, pushes)
        for push in pushes:
            push.clean_up()
        return sample

    return measure


class _Push:
    """Blobs made beforehand, one for each connection, in a memory file system: the disk is the server's alone."""

    def __init__(self, subject: Subject, connections: int) -> None:
        self._subject = subject
        self._blobs = []
        for _ in range(connections):
            data = os.urandom(16) + subject.large.data[16:]
            self._blobs.append((digest_of(data), scratch_file(subject.scratch, data)))

    def __call__(self, number: int) -> int:
        digest, file = self._blobs[number]
        with connected(self._subject.server.port) as connection:
            push_blob(connection, f"bench/push-{number}", digest, file)
        return 1

    def clean_up(self) -> None:
        for digest, file in self._blobs:
            file.unlink()
            self._subject.drop_blob(digest)


def small_images(subject: Subject) -> Sample:
    """Push images of three layers that are not there yet, with eight clients in two processes."""
    return _by_clients(subject, _push_images)


def redirected_images(subject: Subject) -> Sample:
    """Pull images of three small layers whole, with eight clients in two processes: the blobs from the store."""
    return _by_clients(subject, _pull_images)


def _by_clients(subject: Subject, work: Callable[[int, float, int], int]) -> Sample:
    with ProcessPoolExecutor(CLIENT_PROCESSES) as pool:
        # The processes are there before the clock starts.
        list(pool.map(abs, range(CLIENT_PROCESSES * 4)))
        with _Meter(subject) as meter:
            seeds = [int.from_bytes(os.urandom(4)) for _ in range(CLIENT_PROCESSES)]
            arguments = ([subject.server.port] * CLIENT_PROCESSES, [subject.seconds] * CLIENT_PROCESSES, seeds)
            meter.operations = sum(pool.map(work, *arguments))
    return meter.sample()


WORKLOADS: Sequence[Workload] = (
    Workload("manifest by tag", "requests/s", manifest_by_tag),
    Workload("manifest by digest", "requests/s", manifest_by_digest),
    Workload("1 kB blob", "requests/s", small_blob),
    Workload("256 MiB pull, 1 connection", "MiB/s", pull(1)),
    Workload("256 MiB pull, 4 connections", "MiB/s", pull(4)),
    Workload("256 MiB push, 1 connection", "MiB/s", push(1)),
    Workload("256 MiB push, 4 connections", "MiB/s", push(4)),
    Workload("small images pushed", "images/s", small_images),
    Workload("catalog of 2,000", "listings/s", catalog),
    Workload("list of 2,000 tags", "listings/s", tag_list),
)


class _Meter:
    """Takes the time of a block, and the server's processor time during it."""

    def __init__(self, subject: Subject) -> None:
        self.operations = 0
        self._group = subject.server.pid

    def __enter__(self) -> Self:
        self._cpu = cpu_seconds(self._group)
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self._seconds = time.perf_counter() - self._began
        self._cpu = cpu_seconds(self._group) - self._cpu

    def sample(self, units: float | None = None) -> Sample:
        """The rate of operations, or of `units`; the processor time is always that of one operation."""
        return Sample((units or self.operations) / self._seconds, self._cpu * 1_000 / self.operations)


def wrk_each(subject: Subject, paths: Sequence[str]) -> Sample:
    """Request these paths in turn, as often as possible."""
    script = subject.scratch / "paths.lua"
    listed = ", ".join(f'"{path}"' for path in paths)
    script.write_text(
        f"paths, asked = {{{listed}}}, 0\n"
        "function request() asked = asked + 1; return wrk.format('GET', paths[asked % #paths + 1]) end\n"
    )
    return wrk(subject, "/", script=script)


def wrk(subject: Subject, path: str, *, connections: int = WRK_CONNECTIONS, script: Path | None = None) -> Sample:
    """Request one path as often as possible, or those of a script."""
    options: tuple[str, ...] = (
        "--latency",
        "-t1",
        f"-c{connections}",
        f"-d{subject.seconds:.0f}s",
        "-H",
        f"Accept: {OCI_MANIFEST}",
    )
    options += ("-s", str(script)) if script else ()
    with _Meter(subject) as meter:
        printed = subprocess.check_output([find_tool("wrk"), *options, subject.server.url + path], text=True)
    if "Non-2xx" in printed or "Socket errors" in printed:
        raise WireError(f"{path}: {printed}")
    counted = re.search(r"(\d+) requests in", printed)
    rate = re.search(r"Requests/sec:\s*([\d.]+)", printed)
    if counted is None or rate is None:
        raise WireError(f"{path}: {printed}")
    meter.operations = int(counted[1])
    latencies = {f"p{quantile}": _milliseconds(printed, quantile) for quantile in (50, 99)}
    return Sample(float(rate[1]), meter.sample().cpu_ms, latencies)


def _milliseconds(printed: str, quantile: int) -> float:
    found = re.search(rf"{quantile}%\s+([\d.]+)(us|ms|s)", printed)
    if found is None:
        raise WireError(printed)
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1_000.0}[found[2]]


def _move_large_blobs(subject: Subject, connections: int, moves: Sequence[Callable[[int], int]]) -> Sample:
    """Run each of the moves on all connections at once; each returns the number of blobs that it moved on one."""
    with ThreadPoolExecutor(connections) as pool, _Meter(subject) as meter:
        for move in moves:
            meter.operations += sum(pool.map(move, range(connections)))
    return meter.sample(meter.operations * len(subject.large.data) / MIB)


def _push_images(port: int, seconds: float, seed: int) -> int:
    """Push images until the time is over with half of the clients; returns how many."""

    def push(connection: Connection, client: int, number: int) -> None:
        content = (seed * IMAGE_CLIENTS + client) * 100_000 + number
        _push_image(connection, f"bench/images-{client}", f"v{number % 50}", content)

    return _repeat(port, seconds, push)


def _pull_images(port: int, seconds: float, seed: int) -> int:
    """Pull images until the time is over with half of the clients; returns how many."""
    stores: dict[int, dict[int, Connection]] = {}

    def pull(connection: Connection, client: int, number: int) -> None:
        chosen = (seed + client * 13 + number) % len(PULLED_IMAGES)
        target = f"/v2/{PULLED_REPOSITORY}/manifests/v{chosen}"
        expect(connection.request("GET", target, accept=OCI_MANIFEST), 200)
        for blob in PULLED_IMAGES[chosen].blobs:
            reply = connection.request("GET", f"/v2/{PULLED_REPOSITORY}/blobs/{blob.digest}")
            expect(follow(reply, stores.setdefault(client, {})), 200)

    return _repeat(port, seconds, pull)


def _repeat(port: int, seconds: float, work: Callable[[Connection, int, int], None]) -> int:
    """Repeat the work of a client, given its number and that of the repetition, until the time is over."""
    clients = IMAGE_CLIENTS // CLIENT_PROCESSES

    def work_until_over(client: int) -> int:
        done = 0
        connection = Connection(port)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            work(connection, client, done)
            done += 1
        connection.close()
        return done

    with ThreadPoolExecutor(clients) as pool:
        return sum(pool.map(work_until_over, range(clients)))


def _push_image(connection: Connection, repository: str, tag: str, seed: int) -> None:
    image = make_image(seed, layer_sizes=(500, 600, 700))
    for blob in image.blobs:
        push_blob(connection, repository, blob.digest, blob.data)
    target = f"/v2/{repository}/manifests/{tag}"
    expect(connection.request("PUT", target, image.manifest.data, content_type=OCI_MANIFEST), 201)


def drop_file(storage: Path, digest: str) -> None:
    """Remove a pushed blob from a folder, or from that of an S3 server."""
    encoded = digest.partition(":")[2]
    for pattern in (f"docker/registry/v2/blobs/sha256/{encoded[:2]}/{encoded}/data", f"*/*/blobs/sha256/{encoded}"):
        for file in storage.glob(pattern):
            file.unlink()
