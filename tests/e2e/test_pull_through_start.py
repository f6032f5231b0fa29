"""A configuration of distribution with `proxy` starts unchanged, and the start contacts no upstream."""

import json
import stat
from pathlib import Path

import pytest

from tests.support.commands import run_registry
from tests.support.ports import free_port
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient
from tests.support.upstream_server import UpstreamServer

pytestmark = pytest.mark.e2e

OF_DISTRIBUTION = """\
version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: {root}
http:
  addr: 127.0.0.1:{port}
  headers:
    X-Content-Type-Options: [nosniff]
proxy:
  remoteurl: {url}
  username: robot
  password: hunter2
  ttl: 168h
"""
"""The example of distribution's documentation, with all keys of `proxy`."""


@pytest.fixture
def helper(tmp_path: Path) -> Path:
    """A credential helper that leaves a mark when it runs."""
    path = tmp_path / "docker-credential-test"
    path.write_text(f'#!/bin/sh\ntouch {tmp_path}/ran\necho \'{{"Username": "u", "Secret": "s"}}\'\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_file_of_distribution_passes_the_check(tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text(OF_DISTRIBUTION.format(root=tmp_path / "data", port=5000, url="https://registry-1.docker.io"))
    done = run_registry("config", "check", str(config))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert 'proxy.remoteurl: "https://registry-1.docker.io"' in done.stdout
    assert "hunter2" not in done.stdout


@pytest.mark.parametrize("workers", [1, 2])
def test_start_contacts_no_upstream(tmp_path: Path, helper: Path, workers: int) -> None:
    with UpstreamServer() as upstream:
        proxy = {
            "remoteurl": upstream.url,
            "exec": {"command": str(helper), "lifetime": "1h"},
            "cachewritetimeout": "5m",
            "upstreams": [{"prefix": "quay.io", "urls": [upstream.url]}],
        }
        config = {"http": {"workers": workers}, "proxy": proxy}
        with RegistryServer(tmp_path / "server", tmp_path / "data", config=config) as server:
            assert RegistryClient(server.host).request("GET", "/v2/").status == 200
    assert upstream.seen == []
    assert not (tmp_path / "ran").exists()


def test_registry_starts_while_the_upstream_is_down(tmp_path: Path) -> None:
    proxy = {"remoteurl": f"http://127.0.0.1:{free_port()}", "username": "u", "password": "p"}
    with RegistryServer(tmp_path / "server", tmp_path / "data", config={"proxy": proxy}) as server:
        client = RegistryClient(server.host)
        assert client.request("GET", "/v2/").status == 200
        missing = client.request("GET", "/v2/library/alpine/manifests/latest")
        assert missing.status == 502
        assert json.loads(missing.body)["errors"]
