"""The bases and the example for kustomize, as the real kustomize builds them."""

import base64
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from config.errors import ConfigError
from config.settings import CatalogBackend
from config.version import installed_version
from tests.support.deployments import DEPLOY, documents, of_kind, parse_documents
from tests.support.kubernetes_links import broken_links
from tests.support.kubernetes_types import problems_of
from tests.support.manifests import SECRETS, Manifests, container_of, load_as_the_pod_would, pod_of, secret_references

FOLDER = DEPLOY / "kubernetes"
BASES = sorted(path.parent.name for path in FOLDER.glob("*/registry.yaml"))


def build(tool: Callable[[str], str], folder: Path) -> Manifests:
    done = subprocess.run(
        [tool("kustomize"), "build", str(folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return parse_documents(done.stdout)


def by_identity(manifests: Manifests) -> list[tuple[str, str, object]]:
    return sorted(((each["kind"], each["metadata"]["name"], each) for each in manifests), key=lambda each: each[:2])


@pytest.mark.parametrize("name", BASES)
def test_base_consists_of_the_rendered_manifests(tool, name):
    assert by_identity(build(tool, FOLDER / name)) == by_identity(documents(FOLDER / name / "registry.yaml"))


@pytest.fixture(scope="module")
def example(tool: Callable[[str], str]) -> Manifests:
    return build(tool, FOLDER / "example")


def secrets_in(manifests: Manifests) -> dict[str, str]:
    data = of_kind(manifests, "Secret")["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def test_example_has_no_unknown_fields_and_names(example):
    assert [problem for each in example for problem in problems_of(each)] == []
    assert broken_links(example) == []
    assert {each["metadata"].get("namespace", "registry") for each in example} == {"registry"}


def test_example_is_understood_and_keeps_what_the_base_promises(example, tmp_path):
    loaded = load_as_the_pod_would(example, tmp_path)
    base = documents(FOLDER / "scs" / "registry.yaml")
    expected = load_as_the_pod_would(base, tmp_path).settings
    settings = loaded.settings
    assert loaded.warnings == ()
    assert settings.catalog.backend is CatalogBackend.MYSQL
    # The ports and the time to drain are those of the pod in the base.
    assert settings.http.addr == expected.http.addr
    assert settings.http.debug == expected.http.debug
    assert settings.http.drain_timeout_seconds == expected.http.drain_timeout_seconds
    assert settings.auth == expected.auth


def test_example_changes_image_host_and_names(example):
    config, secret = of_kind(example, "ConfigMap"), of_kind(example, "Secret")
    assert container_of(example)["image"] == f"registry.example.com/infra/sohu-registry:{installed_version()}"
    [volume] = [each for each in pod_of(example)["volumes"] if each["name"] == "config"]
    assert volume["configMap"]["name"] == config["metadata"]["name"] != "registry-config"
    references = secret_references(example)
    assert {each["name"] for each in references} == {secret["metadata"]["name"]}
    assert {each["key"] for each in references} == set(secrets_in(example)) == set(SECRETS)
    ingress = of_kind(example, "Ingress")["spec"]
    assert ingress["rules"][0]["host"] == ingress["tls"][0]["hosts"][0] == "registry.example.com"


@pytest.mark.parametrize("placeholder", SECRETS)
def test_registry_refuses_each_placeholder_of_the_example(example, tmp_path, monkeypatch, placeholder):
    value = secrets_in(example)[placeholder]
    assert "CHANGE-ME" in value
    monkeypatch.setitem(SECRETS, placeholder, value)
    with pytest.raises(ConfigError, match=r"is a (placeholder|sample) from") as refused:
        load_as_the_pod_would(example, tmp_path)
    assert len(refused.value.problems) == 1


def test_changed_secret_replaces_the_pods(tool, example, tmp_path):
    shutil.copytree(FOLDER, tmp_path / "kubernetes")
    file = tmp_path / "kubernetes" / "example" / "secrets.env"
    file.write_text(file.read_text().replace("access-key=CHANGE-ME", "access-key=AK"))
    changed = build(tool, file.parent)
    assert secrets_in(changed)["access-key"] == "AK"
    assert pod_of(changed) != pod_of(example)
