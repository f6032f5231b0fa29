"""A version that is released has dated changes, and a new version reaches every file."""

import re
from datetime import date

import pytest

from scripts.release.errors import ReleaseError
from scripts.release.programs import ROOT
from scripts.release.project import check_changes, read_version
from scripts.release.version import dated, named_files, replaced, set_version

RELEASED = "# Changes\n\n## Unreleased\n\n## 0.2.0 - 2026-11-30\n\n- A thing.\n"


def test_dated_changes_can_be_released():
    check_changes(RELEASED, "0.2.0")


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ("# Changes\n\n## Unreleased\n\n- A thing.\n", "no section `## 0.2.0"),
        (RELEASED.replace(" - 2026-11-30", ""), "no section `## 0.2.0"),
        (RELEASED.replace("0.2.0", "0.2.01"), "no section `## 0.2.0"),
        (RELEASED.replace("Unreleased\n", "Unreleased\n\n### Added\n\n- Another.\n"), "under `Unreleased`"),
    ],
)
def test_other_changes_stop_the_release(changes, cause):
    with pytest.raises(ReleaseError, match=cause):
        check_changes(changes, "0.2.0")


def test_unreleased_changes_get_the_version_and_the_day():
    changes = "# Changes\n\n## Unreleased\n\n### Added\n\n- A thing.\n\n## 0.1.0 - 2026-11-24\n\n- Old.\n"
    written = dated(changes, "0.2.0", date(2026, 11, 30))
    assert written == changes.replace("## Unreleased\n", "## Unreleased\n\n## 0.2.0 - 2026-11-30\n")
    check_changes(written, "0.2.0")
    with pytest.raises(ReleaseError, match="no changes"):
        dated(written, "0.3.0", date(2026, 12, 1))


@pytest.mark.parametrize(
    "text",
    [
        "docker build -t sohu-registry:{} .",
        "uv tool install dist/sohu_registry-{}-py3-none-any.whl",
        'version = "{}"',
        'version: {}\nappVersion: "{}"',
        'app.kubernetes.io/version: "{}"\nhelm.sh/chart: registry-{}',
        'image: {{repository: example.com/sohu-registry, tag: "{}"}}',
        "ARG VERSION={}",
    ],
)
def test_new_version_is_written_where_the_old_one_is_named(text):
    assert replaced(text.format("0.1.0", "0.1.0"), "0.1.0", "0.2.0") == text.format("0.2.0", "0.2.0")


@pytest.mark.parametrize("text", ["pkg 0.1.0", "sohu-registry:0.1.0.1", "sohu-registry:0.1.01", "sohu-registry:10.1.0"])
def test_other_versions_stay(text):
    assert replaced(text, "0.1.0", "0.2.0") == text


def test_new_version_reaches_every_file_that_names_the_version():
    version = read_version((ROOT / "pyproject.toml").read_text())
    pattern = re.compile(rf"(?<![\d.]){re.escape(version)}(?![\d.]*\d)")
    texts = {name: (ROOT / name).read_text(errors="replace") for name in named_files()}
    changed = {name for name, text in texts.items() if replaced(text, version, "77.0.0") != text}
    assert {"pyproject.toml", "Dockerfile", "Makefile", "README.md", "deploy/helm/registry/Chart.yaml"} <= changed
    left = [name for name, text in texts.items() if pattern.search(replaced(text, version, "77.0.0"))]
    assert left == [], "name the version in a way that scripts/release/version.py finds"


@pytest.mark.parametrize("version", ["", "v1.2.3", "1.2", "1.2.3-rc1"])
def test_malformed_version_is_refused(version):
    with pytest.raises(ReleaseError, match=r"not a version of the form 1\.2\.3"):
        set_version(version)
