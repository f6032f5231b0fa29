"""Renders of the chart by the real helm, for many sets of values in one run."""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.certificates import Authority
from tests.support.deployments import DEPLOY
from tests.support.tools import find_tool

CHART = DEPLOY / "helm" / "registry"
KUBERNETES = "1.34.0"
"""The version whose features the chart may use; scripts/render-kubernetes names the same."""
_SOURCE = re.compile(r"^# Source: variants/charts/(v\d{3})/", re.MULTILINE)


def run_helm(*arguments: str, cwd: Path | None = None) -> str:
    """Run helm and return its output.

    Raises:
        ToolMissingError: helm is not installed.
        ValueError: helm failed; the message is its output.
    """
    done = subprocess.run(
        [find_tool("helm"), *arguments], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        raise ValueError(done.stderr.strip())
    return done.stdout


def use_home(monkeypatch: pytest.MonkeyPatch, home: Path, authority: Authority) -> None:
    """Let helm keep its files in a folder of the test, and trust an authority."""
    for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"):
        monkeypatch.setenv(name, str(home / name.lower()))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))


def package_chart(folder: Path) -> Path:
    """Package the chart of this project into a folder."""
    run_helm("package", str(CHART), "--destination", str(folder))
    [package] = folder.glob("registry-*.tgz")
    return package


def render(values: Path | None = None) -> str:
    """Return the manifests of a release that is called `registry`, without its test pod."""
    chosen = ["--values", str(values)] if values else []
    return run_helm("template", "registry", str(CHART), "--kube-version", KUBERNETES, "--skip-tests", *chosen)


def render_each(sets: Mapping[str, Mapping[str, Any]], folder: Path) -> dict[str, str]:
    """Return the manifests for each set of values, from one run of helm, which takes a second for a hundred sets.

    The chart that helm renders depends on ours once for each set, under an alias. The alias stands where the name of
    the chart does, so it is replaced by that name.
    """
    aliases = {f"v{number:03}": name for number, name in enumerate(sets)}
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    chart = {
        "apiVersion": "v2",
        "name": "variants",
        "version": "0.0.0",
        "dependencies": [{"name": "registry", "version": version, "alias": alias} for alias in aliases],
    }
    shutil.copytree(CHART, folder / "charts" / "registry")
    (folder / "Chart.yaml").write_text(json.dumps(chart))
    (folder / "values.yaml").write_text(json.dumps({alias: sets[name] for alias, name in aliases.items()}))
    # The text before each comment about a source, and the name of the set in it.
    _, *parts = _SOURCE.split(run_helm("template", "release", str(folder), "--kube-version", KUBERNETES))
    rendered = dict.fromkeys(sets, "")
    for alias, text in zip(parts[::2], parts[1::2], strict=True):
        rendered[aliases[alias]] += "# Source: " + text.replace(alias, "registry")
    return rendered
