"""Retention in real servers: pulls are recorded by every process, rules applied by one, restarts forget nothing."""

import json
import time
from pathlib import Path

import pytest

from tests.support.commands import run_beside
from tests.support.oci import make_image
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient

pytestmark = pytest.mark.e2e

IMAGES = [make_image(700 + number, layer_sizes=(100,)) for number in range(4)]


def push_all(client: RegistryClient, repository: str) -> None:
    for number, image in enumerate(IMAGES):
        client.push(repository, f"1.{number}.0", image)
    client.push(repository, "latest", IMAGES[0])


def wait_for_tags(client: RegistryClient, repository: str, tags: list[str]) -> None:
    deadline = time.monotonic() + 60
    while client.tags(repository) != tags and time.monotonic() < deadline:
        time.sleep(0.2)
    assert client.tags(repository) == tags


def test_server_applies_the_rules_and_deleted_tags_can_be_restored(tmp_path: Path) -> None:
    rule = {"repositories": ["team/*"], "keeplast": 2, "orderby": "semver"}
    config = {"http": {"workers": 2}, "retention": {"interval": "1s", "rules": [rule]}}
    with RegistryServer(tmp_path / "ours", tmp_path / "storage", config=config) as server:
        client = RegistryClient(server.host)
        push_all(client, "other/app")
        push_all(client, "team/app")
        wait_for_tags(client, "team/app", ["1.2.0", "1.3.0", "latest"])
        assert len(client.tags("other/app")) == 5
        assert IMAGES[3].digest in client.pull("team/app", "1.3.0")
    # Not while a server would take it again.
    assert run_beside(server, "trash", "restore", "team/app:1.1.0").returncode == 0
    with RegistryServer(tmp_path / "again", tmp_path / "storage") as server:
        assert IMAGES[1].digest in RegistryClient(server.host).pull("team/app", "1.1.0")


def test_pulls_of_all_processes_are_known_after_the_end(tmp_path: Path) -> None:
    rule = {"repositories": ["team/*"], "pulledwithin": "24h"}
    config = {"http": {"workers": 2}, "retention": {"interval": "0s", "rules": [rule]}}
    with RegistryServer(tmp_path / "ours", tmp_path / "storage", config=config) as server:
        client = RegistryClient(server.host)
        push_all(client, "team/app")
        # New connections each: both processes serve some of them.
        for _ in range(6):
            for number in (1, 2):
                client.request("GET", f"/v2/team/app/manifests/1.{number}.0").expect(200)
        assert server.stop() == 0
    planned = run_beside(server, "retention", "plan", "--json")
    assert planned.returncode == 0, planned
    tags = {entry["tag"]: entry for entry in json.loads(planned.stdout)["tags"]}
    assert [tag for tag, entry in tags.items() if entry["pulled"]] == ["1.1.0", "1.2.0"]
    assert tags["1.1.0"]["reasons"] == ["rule 1: pulled recently"]
    assert not any(entry["delete"] for entry in tags.values())


def test_registry_without_such_a_rule_and_without_summaries_records_no_pulls(tmp_path: Path) -> None:
    config = {"summaries": {"enabled": False}}
    with RegistryServer(tmp_path / "ours", tmp_path / "storage", config=config) as server:
        client = RegistryClient(server.host)
        push_all(client, "team/app")
        client.pull("team/app", "latest")
        assert server.stop() == 0
    assert not (tmp_path / "storage/docker/registry/v2/_control/pulls").exists()


def test_collection_applies_the_rules_first(tmp_path: Path) -> None:
    config = {"retention": {"interval": "0s", "rules": [{"keeplast": 1}]}}
    with RegistryServer(tmp_path / "ours", tmp_path / "storage", config=config) as server:
        client = RegistryClient(server.host)
        for number, image in enumerate(IMAGES):
            client.push("team/app", f"1.{number}.0", image)
        assert server.stop() == 0
        collected = run_beside(server, "garbage-collect", "--delete-untagged", "--offline", "--json")
        assert collected.returncode == 0, collected
        server.start()
        assert client.tags("team/app") == ["1.3.0"]
        assert IMAGES[3].digest in client.pull("team/app", "1.3.0")
        for image in IMAGES[:3]:
            client.request("GET", f"/v2/team/app/manifests/{image.digest}").expect(404)
        assert run_beside(server, "trash", "restore", "team/app:1.0.0").returncode == 0
        assert IMAGES[0].digest in client.pull("team/app", "1.0.0")
