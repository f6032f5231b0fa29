"""The OCI conformance suite with every API and every kind of data: nothing fails, nothing is skipped."""

import os
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.processes import RegistryServer

pytestmark = pytest.mark.e2e

SUITE_TIMEOUT_SECONDS = 280
TESTS_AT_LEAST = 950
"""A suite that ran fewer was cut short, whatever it reports."""

APIS = (
    "PING PULL PUSH REFERRER BLOBS_ATOMIC BLOBS_DELETE BLOBS_DIGEST_HEADER BLOBS_MOUNT_ANONYMOUS "
    "BLOBS_UPLOAD_CANCEL MANIFESTS_ATOMIC MANIFESTS_DELETE MANIFESTS_DIGEST_HEADER MANIFESTS_TAG_PARAM "
    "TAGS_ATOMIC TAGS_DELETE TAGS_LIST"
)
DATA = (
    "IMAGE INDEX INDEX_LIST SPARSE ARTIFACT SUBJECT SUBJECT_MISSING ARTIFACT_LIST SUBJECT_LIST DATA_FIELD "
    "NONDISTRIBUTABLE CUSTOM_FIELDS NO_LAYERS EMPTY_BLOB SHA512"
)


@pytest.fixture
def sparse_server(tmp_path: Path) -> Iterator[RegistryServer]:
    """A registry that accepts manifests whose references are not there, as the suite's sparse images need."""
    environment = {"REGISTRY_VALIDATION_DISABLED": "true"}
    with RegistryServer(tmp_path / "server", tmp_path / "storage", environment=environment) as running:
        yield running


def test_oci_conformance_is_complete(tool: Callable[[str], str], sparse_server: RegistryServer, tmp_path: Path) -> None:
    options = {f"OCI_API_{name}": "true" for name in APIS.split()} | {
        f"OCI_DATA_{name}": "true" for name in DATA.split()
    }
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("OCI_")},
        **options,
        "OCI_REGISTRY": sparse_server.host,
        "OCI_TLS": "disabled",
        "OCI_VERSION": "dev",
        "OCI_RESULTS_DIR": str(tmp_path / "results"),
    }

    done = subprocess.run(
        [tool("conformance")],
        env=environment,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SUITE_TIMEOUT_SECONDS,
        check=False,
    )

    report = tmp_path / "results" / "junit.xml"
    suite = ET.parse(report).getroot()  # noqa: S314  # the suite that we just ran wrote it
    bad = [
        f"{case.get('status')}: {case.get('name')}" for case in suite.iter("testcase") if case.get("status") != "passed"
    ]
    assert bad == [], done.stdout[-4000:]
    # The suite writes these attributes only when there is something to count.
    assert (suite.get("failures"), suite.get("skipped")) == (None, None)
    assert int(suite.get("tests", "0")) >= TESTS_AT_LEAST
    assert done.returncode == 0, done.stdout[-4000:]
