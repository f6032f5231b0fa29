"""The application that all workers share holds nothing that each process must have of its own."""

import ast
import os
import random
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.blob_storage.s3 import S3Options
from adapters.blob_storage.s3.presets import GcsOptions, OssOptions, SwiftOptions
from adapters.blob_storage.scs import ScsOptions
from config.container import Observers, build_server, build_server_parts, surroundings
from config.settings import (
    CatalogBackend,
    CatalogSettings,
    DescriptorCache,
    EndpointSettings,
    MirrorSettings,
    NotificationSettings,
    OutboxBackend,
    OutboxSettings,
    ProxySettings,
    RedisOptions,
    Secret,
    Settings,
    StorageKind,
    StorageSettings,
)
from core.model.sizes import Bytes
from core.pull_through.limits import CacheLimits, PrefetchRule
from tests.support.tools import REPOSITORY_ROOT

FORKED = """
import asyncio, os, sys
from config.container import Observers, build_server, build_server_parts
from config.loader import load
from entrypoints.opening import opened
from tests.support.notifications import make_event

application = build_server(build_server_parts(load(sys.argv[1], environ={}).settings), Observers())

async def show():
    async with opened(application):
        for lease in (application.collection_lease, application.eviction_lease):
            assert await lease.acquire(60)
            print(await lease.owner(), flush=True)
            await lease.release()
        await application.outbox.record({"e": [make_event("1")]})
        [batch] = await application.outbox.queued("e")
        print(batch.process, flush=True)
        await application.outbox.settle("e", [batch])

for _ in range(2):
    if os.fork() == 0:
        asyncio.run(show())
        os._exit(0)
    assert os.wait()[1] == 0
"""


def test_workers_of_one_application_have_different_names(tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text(f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {tmp_path / 'store'}\n")
    command = [sys.executable, "-c", FORKED, str(config)]
    done = subprocess.run(command, cwd=REPOSITORY_ROOT, check=True, capture_output=True, text=True, timeout=60)
    names = done.stdout.split()
    # Two leases and one outbox in each of two processes.
    assert len(names) == len(set(names)) == 6


def test_container_calls_no_function_whose_result_differs_per_process() -> None:
    """It passes them on, so that each process calls them. Settings that no other test has may select the caller."""
    per_process = {"new_id", "entry_id", "process_name", "owner_id"}
    assert per_process <= vars(surroundings).keys()
    files = sorted((REPOSITORY_ROOT / "config/container").glob("*.py"))
    assert len(files) > 20
    calls = [
        f"{file.name}:{node.lineno}"
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in per_process
    ]
    assert calls == []


CLOCKS = REPOSITORY_ROOT / "config/container/surroundings.py"
ALLOWED = {
    # Adds the id of the process to each name.
    "adapters/blob_storage/filesystem/tree.py",
    # A budget that nobody used for a while is full again.
    "core/coordination/budget.py",
}


def is_ours(file: Path) -> bool:
    return any(file.is_relative_to(REPOSITORY_ROOT / name) for name in ("core", "adapters", "config", "entrypoints"))


class Calls:
    """Records which files of the product call some functions."""

    def __init__(self) -> None:
        self.callers: set[str] = set()

    def watch(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **options: Any) -> Any:
            files = [Path(frame.filename) for frame in traceback.extract_stack()]
            [*_, caller] = [each for each in files if each != CLOCKS and is_ours(each)]
            self.callers.add(str(caller.relative_to(REPOSITORY_ROOT)))
            return function(*arguments, **options)

        return watched


def open_descriptors() -> list[str]:
    return [each.name for each in Path("/proc/self/fd").iterdir()]


def settings_for(kind: StorageKind, backend: CatalogBackend, folder: Path, *, has_upstream: bool) -> Settings:
    settings = Settings(
        storage=StorageSettings(
            kind=kind,
            scs=ScsOptions(access_key="a", secret_key=Secret("s"), region="bjcnc", bucket="b"),
            s3=S3Options(bucket="b", secret_key=Secret("s")),
            gcs=GcsOptions(bucket="b"),
            oss=OssOptions(bucket="b", region="oss-cn-beijing"),
            swift=SwiftOptions(container="b", s3_endpoint="http://s"),
            blob_descriptor_cache=DescriptorCache.REDIS,
        ),
        catalog=CatalogSettings(
            backend=backend, mysql_dsn=Secret("u:p@tcp(h:1)/d"), local_path=str(folder / "catalog")
        ),
        redis=RedisOptions(addrs=("r:6379",)),
        notifications=NotificationSettings(
            endpoints=(EndpointSettings(name="e", url="http://127.0.0.1:9"),),
            outbox=OutboxSettings(backend=OutboxBackend.LOCAL, path=str(folder)),
        ),
    )
    if not has_upstream:
        return settings
    return replace(
        settings,
        proxy=ProxySettings(
            remote_url="http://127.0.0.1:9",
            limits=CacheLimits(size_bytes=Bytes(10**9), unused_seconds=3600.0),
            prefetch=(PrefetchRule(image="library/app"),),
        ),
        mirrors=(MirrorSettings(source="http://127.0.0.1:9"),),
    )


@pytest.mark.parametrize("kind", [kind for kind in StorageKind if kind is not StorageKind.INMEMORY])
@pytest.mark.parametrize("backend", CatalogBackend)
@pytest.mark.parametrize("has_upstream", [False, True])
def test_building_asks_neither_chance_nor_the_process_nor_a_clock(
    kind: StorageKind,
    backend: CatalogBackend,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    has_upstream: bool,
) -> None:
    parts = build_server_parts(settings_for(kind, backend, tmp_path, has_upstream=has_upstream))
    # Imports what the settings need.
    build_server(parts, Observers())
    calls = Calls()
    for module, name in [
        (os, "urandom"), (random, "_urandom"), (os, "getpid"), (socket, "gethostname"), (time, "time"),
        (time, "monotonic"), (time, "clock_gettime"),
    ]:  # fmt: skip
        monkeypatch.setattr(module, name, calls.watch(getattr(module, name)))
    descriptors, threads = set(open_descriptors()), threading.active_count()
    build_server(parts, Observers())
    assert calls.callers - ALLOWED == set()
    # Workers would share the position and the locks of an open file; a thread exists in one process only.
    assert set(open_descriptors()) <= descriptors
    assert threading.active_count() <= threads
