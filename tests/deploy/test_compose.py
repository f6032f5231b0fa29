"""The programs of the compose file understand their settings."""

import re
from typing import Any

import pytest

from config.durations import format_duration, parse_duration
from config.loader import find_path, load
from config.settings import CatalogBackend, DescriptorCache
from entrypoints.http.probes import READY_PATH
from tests.support.deployments import DEPLOY, read_compose

FOLDER = DEPLOY / "compose"
NAMES = re.findall(r"^([A-Z_]+)=$", (FOLDER / "example.env").read_text(), re.MULTILINE)
ENVIRON = {name: f"value-of-{name.lower()}" for name in NAMES}


@pytest.fixture
def compose() -> dict[str, Any]:
    return read_compose(FOLDER / "compose.yaml", ENVIRON)


def test_example_lists_the_required_variables(compose):
    assert NAMES == ["REGISTRY_HTTP_SECRET", "MYSQL_PASSWORD", "REDIS_PASSWORD"]
    for name in NAMES:
        with pytest.raises(KeyError, match=name):
            read_compose(FOLDER / "compose.yaml", {key: value for key, value in ENVIRON.items() if key != name})


def test_replicas_understand_their_configuration(compose):
    registry = compose["services"]["registry"]
    assert registry["deploy"]["replicas"] == 3
    [mount] = [each for each in registry["volumes"] if each.endswith(":ro")]
    source, target, _ = mount.split(":")
    assert registry["command"] == ["serve"]
    assert find_path(None, environ=registry["environment"]) == target
    loaded = load(str(FOLDER / source), environ=registry["environment"])
    settings = loaded.settings
    assert loaded.warnings == ()
    assert settings.http.secret
    assert settings.http.secret.reveal() == ENVIRON["REGISTRY_HTTP_SECRET"]
    assert settings.catalog.backend is CatalogBackend.MYSQL
    assert settings.storage.blob_descriptor_cache is DescriptorCache.REDIS
    assert settings.redis
    assert settings.redis.addrs == ("cache:6379",)
    assert f"{settings.storage.filesystem.root_directory}" in [each.split(":")[1] for each in registry["volumes"]]
    assert parse_duration(registry["stop_grace_period"]) > settings.http.drain_timeout_seconds
    assert format_duration(settings.http.drain_timeout_seconds)


def test_services_wait_until_others_are_healthy(compose):
    services = compose["services"]
    for service in services.values():
        assert service["healthcheck"]["test"]
        for name, wait in service.get("depends_on", {}).items():
            assert wait == {"condition": "service_healthy"}
            assert name in services
            assert set(service["networks"]) & set(services[name]["networks"])
    assert f"'{READY_PATH}'" in services["registry"]["healthcheck"]["test"][-1]
    compile(services["registry"]["healthcheck"]["test"][-1], "healthcheck", "exec")
    assert services["proxy"]["healthcheck"]["test"][-1].endswith(READY_PATH)


def test_only_the_proxy_is_reached_from_outside(compose):
    assert [name for name, service in compose["services"].items() if "ports" in service] == ["proxy"]
    assert compose["services"]["proxy"]["ports"] == ["127.0.0.1:5000:8080"]
    for name, network in compose["networks"].items():
        assert name == "outside" or network["internal"] is True
    for name in ("registry", "index", "cache"):
        assert "outside" not in compose["services"][name]["networks"]


def test_commands_contain_no_secrets(compose):
    for service in compose["services"].values():
        assert not any(value in str(service.get("command", "")) for value in ENVIRON.values())
