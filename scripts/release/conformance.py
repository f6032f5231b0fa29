"""The bundle of files that opencontainers/oci-conformance accepts, from a run of the OCI conformance suite.

The layout is that of its instructions.md: `distribution-spec/vX.Y/PRODUCT/` with the results, and a description of how
to get them again.
"""

import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import yaml

from scripts.release.errors import ReleaseError
from scripts.release.programs import ROOT, executable
from scripts.release.project import NAME, SOURCE

SPECIFICATION: Final = "1.1"
FOLDER: Final = f"distribution-spec/v{SPECIFICATION}/{NAME}"
RESULTS: Final = ("results.yaml", "report.html", "junit.xml")
SUITE_SECONDS: Final = 280

APIS: Final = (
    "PING PULL PUSH REFERRER BLOBS_ATOMIC BLOBS_DELETE BLOBS_DIGEST_HEADER BLOBS_MOUNT_ANONYMOUS "
    "BLOBS_UPLOAD_CANCEL MANIFESTS_ATOMIC MANIFESTS_DELETE MANIFESTS_DIGEST_HEADER MANIFESTS_TAG_PARAM "
    "TAGS_ATOMIC TAGS_DELETE TAGS_LIST"
)
DATA: Final = (
    "IMAGE INDEX INDEX_LIST SPARSE ARTIFACT SUBJECT SUBJECT_MISSING ARTIFACT_LIST SUBJECT_LIST DATA_FIELD "
    "NONDISTRIBUTABLE CUSTOM_FIELDS NO_LAYERS EMPTY_BLOB SHA512"
)
SETTINGS: Final = {"validation": {"disabled": True}}
"""The suite's sparse images refer to manifests that are not there."""


def suite_variables(host: str, results: Path, *, specification: str = SPECIFICATION) -> dict[str, str]:
    """Return the variables that make the suite test every API with every kind of data."""
    return {
        **{f"OCI_API_{name}": "true" for name in APIS.split()},
        **{f"OCI_DATA_{name}": "true" for name in DATA.split()},
        "OCI_REGISTRY": host,
        "OCI_TLS": "disabled",
        "OCI_VERSION": specification,
        "OCI_RESULTS_DIR": str(results),
    }


def run_suite(host: str, results: Path, folder: Path) -> None:
    """Run the suite against a registry.

    Raises:
        ReleaseError: a test failed or was skipped.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OCI_")}
    done = subprocess.run(
        [executable("conformance")],
        env=inherited | suite_variables(host, results),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SUITE_SECONDS,
        check=False,
    )
    if done.returncode or (bad := unpassed(results / "junit.xml")):
        shown = "\n".join(bad[:20]) if not done.returncode else done.stdout[-4000:]
        raise ReleaseError(f"the OCI conformance suite did not pass:\n{shown}")


def unpassed(report: Path) -> list[str]:
    """Return the tests of a report that failed or were skipped."""
    suite = ET.parse(report).getroot()  # noqa: S314  # the suite that we just ran wrote it
    return [
        f"{case.get('status')}: {case.get('name')}" for case in suite.iter("testcase") if case.get("status") != "passed"
    ]


def make_bundle(results: Path, target: Path, project: Mapping[str, str]) -> None:
    """Write the files of a bundle.

    Args:
        results: the folder with the results of the suite.
        target: the folder that receives `distribution-spec/…`.
        project: the name, the version and the description of the product.
    """
    folder = target / FOLDER
    folder.mkdir(parents=True)
    for name in RESULTS:
        shutil.copyfile(results / name, folder / name)
    product = {
        "vendor": "Sohu",
        "name": project["name"],
        "version": f"v{project['version']}",
        "website_url": SOURCE,
        "repo_url": SOURCE,
        "documentation_url": f"{SOURCE}/tree/main/docs",
        "type": "distribution",
        "description": project["description"],
    }
    (folder / "PRODUCT.yaml").write_text(yaml.safe_dump(product, sort_keys=False, width=1000))
    (folder / "README.md").write_text(
        _README.format(
            **project, specification=SPECIFICATION, source=SOURCE, suite=suite_commit(), variables=_exports()
        )
    )


def suite_commit() -> str:
    """Return the commit of the suite that `make tools` installs, which the results do not name."""
    pinned = (ROOT / "scripts/install-test-tools").read_text()
    found = re.search(r"distribution-spec/conformance@v\S+-([0-9a-f]{12})$", pinned, re.MULTILINE)
    if found is None:
        raise ReleaseError("scripts/install-test-tools does not pin the conformance suite to a commit")
    return found[1]


def _exports() -> str:
    variables = suite_variables("127.0.0.1:5000", Path("results"))
    return "\n".join(f"export {name}={value}" for name, value in variables.items())


_README = """# {name}

## How to reproduce the results

Start the registry. The suite's sparse images refer to manifests that are not there, which a setting allows.

```shell
git clone --branch v{version} {source} registry
cd registry
REGISTRY_VALIDATION_DISABLED=true make run
```

Run the suite in another shell:

```shell
git clone https://github.com/opencontainers/distribution-spec.git
cd distribution-spec/conformance
git checkout {suite}
{variables}
go run -buildvcs=true .
```

`make conformance` in the folder `registry` does both, with the version of the suite that is pinned there.
"""
