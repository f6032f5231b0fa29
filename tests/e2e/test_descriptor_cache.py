"""Blobs that are deleted and pushed again, at servers with descriptor caches."""

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.commands import run_registry
from tests.support.oci import contents_of, make_image
from tests.support.processes import RegistryServer
from tests.support.redis_server import RedisServer
from tests.support.registry_client import RegistryClient

pytestmark = pytest.mark.e2e

ROUNDS = 8
"""Each connection goes to one of two processes; this many connections would reach the wrong one sooner or later."""


def delete_and_push(pushing: list[RegistryClient]) -> None:
    """Push an image, delete all of it, push it again, and pull it: whichever process serves each request."""
    image = make_image(3)
    for number in range(ROUNDS):
        clients = pushing[number % len(pushing) :] + pushing[: number % len(pushing)]
        clients[0].push("a/b", "v1", image)
        for content in contents_of(image):
            for client in clients:
                client.request("HEAD", f"/v2/a/b/blobs/{content.digest}")
        clients[-1].delete_manifest("a/b", image.digest)
        for content in contents_of(image):
            clients[-1].request("DELETE", f"/v2/a/b/blobs/{content.digest}").expect(202, 404)
        clients[0].push("a/b", "v1", image)
        for client in clients:
            assert client.pull("a/b", "v1").keys() == {content.digest for content in contents_of(image)}


def test_processes_of_a_server_invalidate_each_others_caches(tmp_path: Path) -> None:
    config = {"storage": {"cache": {"blobdescriptor": "inmemory"}}, "http": {"workers": 2}}
    with RegistryServer(tmp_path / "server", tmp_path / "storage", config=config) as server:
        delete_and_push([RegistryClient(server.host)])


def test_replicas_invalidate_each_others_caches_through_redis(tmp_path: Path, tool: Callable[[str], str]) -> None:
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(tool("redis-server")))
        config = {
            "storage": {"cache": {"blobdescriptor": "redis"}},
            "redis": {"addr": redis.address, "operationtimeout": "30s"},
            "http": {"workers": 2},
        }
        servers = [
            stack.enter_context(RegistryServer(tmp_path / name, tmp_path / "storage", config=config))
            for name in ("one", "two")
        ]
        delete_and_push([RegistryClient(server.host) for server in servers])


def test_collection_removes_entries_from_redis(tmp_path: Path, tool: Callable[[str], str]) -> None:
    """The collection is a command; restarted servers have no memory of their recent responses."""
    deleted, kept = make_image(3), make_image(4)
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(tool("redis-server")))
        config = {
            "storage": {
                "cache": {"blobdescriptor": "redis"},
                "maintenance": {"garbagecollect": {"settletime": "4s"}},
            },
            "redis": {"addr": redis.address, "operationtimeout": "30s"},
            "http": {"workers": 2},
        }
        servers = [
            stack.enter_context(RegistryServer(tmp_path / name, tmp_path / "storage", config=config))
            for name in ("one", "two")
        ]
        clients = [RegistryClient(server.host) for server in servers]
        clients[0].push("a/b", "v1", deleted)
        clients[0].push("a/b", "v2", kept)
        clients[1].delete_manifest("a/b", deleted.digest)
        for server in servers:
            server.stop()
        # Younger content than two seconds is kept.
        tree, moment = tmp_path / "storage" / "docker" / "registry" / "v2", time.time() - 60
        for path in [*tree.glob("blobs/**/*"), *tree.glob("repositories/**/*")]:
            os.utime(path, (moment, moment))
        for server in servers:
            server.start()
        entries = stack.enter_context(redis.client())
        layers = [content.digest for content in contents_of(deleted) if content.digest != deleted.digest]
        assert all(entries.exists(f"blobs::{digest}") for digest in layers)

        done = run_registry("garbage-collect", "--grace-period", "0s", "--json", str(servers[0].config_path))
        assert done.returncode == 0, done.stderr

        assert not any(entries.exists(f"blobs::{digest}") for digest in layers), done.stdout
        for client in clients:
            for digest in layers:
                client.request("GET", f"/v2/a/b/blobs/{digest}").expect(404)
                client.request("HEAD", f"/v2/a/b/blobs/{digest}").expect(404)
            assert client.pull("a/b", "v2")
        clients[1].push("a/b", "v1", deleted)
        for client in clients:
            assert client.pull("a/b", "v1").keys() == {content.digest for content in contents_of(deleted)}
