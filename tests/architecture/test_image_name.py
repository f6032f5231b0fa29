"""The container image has one name and one tag in every file that users copy from."""

import re
import subprocess

from config.version import DISTRIBUTION
from tests.architecture.test_lock_file import read_project
from tests.support.tools import REPOSITORY_ROOT

# Where a command line or a file for a cluster names an image: after these words.
IMAGE = re.compile(
    rf"""(?:(?:-t|--tag|--name\ \w+|IMAGE\ :=|image:)\ +"?(?:\$\{{REGISTRY_IMAGE:-)?|REGISTRY_IMAGE=|-e\ \S+\ )
    (?P<reference>{DISTRIBUTION}[:\w.]*)""",
    re.VERBOSE,
)
# Wherever the name has a tag, on its own or as a field of its own.
TAG = re.compile(rf"""\b{DISTRIBUTION}(?::|["']?[ ,]+(?:newT|t)ag:\ +["']?)(?P<tag>[\w.]+)""")
VERSION = read_project()["project"]["version"]


def committed_text() -> dict[str, str]:
    listed = subprocess.check_output(["git", "ls-files", "-z"], cwd=REPOSITORY_ROOT, text=True, timeout=60)
    names = [name for name in listed.split("\0") if name and not name.startswith("tests/")]
    return {name: (REPOSITORY_ROOT / name).read_text(errors="replace") for name in names}


def test_every_file_names_the_image_of_this_version() -> None:
    named = {
        (name, found["reference"])
        for name, text in committed_text().items()
        for line in text.splitlines()
        for found in IMAGE.finditer(line)
    }
    files = {name for name, _ in named}
    assert {"Dockerfile", "Makefile", "README.md", "README.zh-CN.md", "deploy/compose/compose.yaml"} <= files
    assert {"deploy/kubernetes/scs/registry.yaml", "deploy/compose/example.env", "docs/deployment.md"} <= files
    assert [entry for entry in named if entry[1] != f"{DISTRIBUTION}:{VERSION}"] == []


def test_every_tag_of_the_image_is_this_version() -> None:
    tags = [(name, found["tag"]) for name, text in committed_text().items() for found in TAG.finditer(text)]
    files = {name for name, _ in tags}
    assert files >= {"deploy/kubernetes/example/kustomization.yaml", "deploy/helm/registry/Chart.yaml"}
    assert files >= {"docs/deployment.md", "deploy/compose/compose.yaml", "deploy/kubernetes/s3/registry.yaml"}
    assert [entry for entry in tags if entry[1] != VERSION] == []


def test_chart_and_image_have_the_version_of_the_project() -> None:
    texts = committed_text()
    chart = texts["deploy/helm/registry/Chart.yaml"]
    assert f'\nversion: {VERSION}\nappVersion: "{VERSION}"\n' in chart
    assert f"\nARG VERSION={VERSION}\n" in texts["Dockerfile"]
