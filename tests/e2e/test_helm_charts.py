"""Helm stores the registry's own chart in the registry and installs from there."""

from hashlib import sha256
from pathlib import Path

import pytest
import yaml

from tests.support.deployments import DEPLOY
from tests.support.helm import CHART, KUBERNETES, run_helm

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
