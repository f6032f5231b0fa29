"""Helm stores the registry's own chart in the registry, and a server with its configuration answers its probes."""

import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
import yaml

from tests.support.deployments import DEPLOY, documents, of_kind, parse_documents
from tests.support.helm import CHART, KUBERNETES, run_helm
from tests.support.manifests import container_of, variables_of
from tests.support.ports import free_port
from tests.support.processes import SERVE_OUR_REGISTRY, ServerProcess
from tests.support.registry_client import RegistryClient

pytestmark = pytest.mark.e2e


@pytest.fixture
def helm_folder(tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which helm keeps its own files, so that those of the user stay."""
    tool("helm")
    for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    return tmp_path


def test_pushed_chart_is_pulled_and_rendered(helm_folder, registry, server) -> None:
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    run_helm("package", str(CHART), "--destination", str(helm_folder))
    package = helm_folder / f"registry-{version}.tgz"
    run_helm("push", str(package), f"oci://{server.host}/charts", "--plain-http")
    assert registry.tags("charts/registry") == [version]

    address, options = f"oci://{server.host}/charts/registry", ("--version", version, "--plain-http")
    pulled = helm_folder / "pulled"
    pulled.mkdir()
    run_helm("pull", address, *options, "--destination", str(pulled))
    assert (pulled / package.name).read_bytes() == package.read_bytes()
    manifest = registry.get_manifest("charts/registry", version).data.decode()
    assert sha256(package.read_bytes()).hexdigest() in manifest
    assert "application/vnd.cncf.helm.chart.content.v1.tar+gzip" in manifest

    values = CHART / "ci" / "scs-values.yaml"
    chosen = ("--values", str(values), "--skip-tests", "--kube-version", KUBERNETES)
    rendered = run_helm("template", "registry", address, *options, *chosen)
    assert rendered == (DEPLOY / "kubernetes" / "scs" / "registry.yaml").read_text().partition("\n")[2]


def test_pod_answers_its_probes_and_the_test_of_the_release(helm_folder) -> None:
    manifests = documents(DEPLOY / "kubernetes" / "filesystem" / "registry.yaml")
    container = container_of(manifests)
    (helm_folder / "config.yml").write_text(of_kind(manifests, "ConfigMap")["data"]["config.yml"])
    port, debug_address = free_port(), f"127.0.0.1:{free_port()}"
    environment = variables_of(manifests) | {
        "REGISTRY_CONFIGURATION_PATH": str(helm_folder / "config.yml"),
        "REGISTRY_HTTP_ADDR": f"127.0.0.1:{port}",
        "REGISTRY_HTTP_DEBUG_ADDR": debug_address,
        "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(helm_folder / "images"),
    }
    (helm_folder / "images").mkdir()
    assert container["args"] == ["serve"]
    with ServerProcess(SERVE_OUR_REGISTRY, port=port, folder=helm_folder, environment=environment) as server:
        for name in ("startupProbe", "livenessProbe", "readinessProbe"):
            RegistryClient(server.host).request("GET", container[name]["httpGet"]["path"]).expect(200)
        RegistryClient(debug_address).request("GET", "/metrics").expect(200)

        values = ("--values", str(CHART / "ci" / "filesystem-values.yaml"), "--kube-version", KUBERNETES)
        shown = run_helm("template", "registry", str(CHART), *values, "--show-only", "templates/tests/answers.yaml")
        [pod] = parse_documents(shown)
        python, option, code = pod["spec"]["containers"][0]["command"]
        assert (python, option, code.count("//registry:5000/")) == ("python3", "-c", 1)
        code = code.replace("//registry:5000/", f"//{server.host}/")
        assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
