"""The OCI conformance suite with every API and every kind of data: nothing fails, nothing is skipped."""

import os
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.release.conformance import SUITE_SECONDS, suite_variables, unpassed
from tests.support.processes import RegistryServer

pytestmark = pytest.mark.e2e

TESTS_AT_LEAST = 950
"""A suite that ran fewer was cut short, whatever it reports."""


@pytest.fixture
def sparse_server(tmp_path: Path) -> Iterator[RegistryServer]:
    """A registry that accepts manifests whose references are not there, as the suite's sparse images need."""
    environment = {"REGISTRY_VALIDATION_DISABLED": "true"}
    with RegistryServer(tmp_path / "server", tmp_path / "storage", environment=environment) as running:
        yield running


def test_oci_conformance_is_complete(tool: Callable[[str], str], sparse_server: RegistryServer, tmp_path: Path) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OCI_")}
    results = tmp_path / "results"
    done = subprocess.run(
        [tool("conformance")],
        env=inherited | suite_variables(sparse_server.host, results, specification="dev"),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SUITE_SECONDS,
        check=False,
    )

    report = results / "junit.xml"
    suite = ET.parse(report).getroot()  # noqa: S314  # the suite that we just ran wrote it
    assert unpassed(report) == [], done.stdout[-4000:]
    # The suite writes these attributes only when there is something to count.
    assert (suite.get("failures"), suite.get("skipped")) == (None, None)
    assert int(suite.get("tests", "0")) >= TESTS_AT_LEAST
    assert done.returncode == 0, done.stdout[-4000:]
