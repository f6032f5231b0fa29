"""The bundle has the files and fields that opencontainers/oci-conformance lists in instructions.md."""

import pytest
import yaml

from scripts.release.conformance import APIS, DATA, RESULTS, make_bundle, suite_commit, unpassed

PROJECT = {"name": "sohu-registry", "version": "1.2.3", "description": "A registry: for images."}


@pytest.fixture
def bundle(tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    for name in (*RESULTS, "other.txt"):
        (results / name).write_text(name)
    make_bundle(results, tmp_path / "bundle", PROJECT)
    return tmp_path / "bundle"


def test_bundle_has_the_files_of_a_submission(bundle):
    files = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    folder = "distribution-spec/v1.1/sohu-registry"
    expected = ("PRODUCT.yaml", "README.md", "junit.xml", "report.html", "results.yaml")
    assert files == {f"{folder}/{name}" for name in expected}
    assert (bundle / folder / "junit.xml").read_text() == "junit.xml"


def test_product_has_the_required_fields(bundle):
    [path] = bundle.rglob("PRODUCT.yaml")
    product = yaml.safe_load(path.read_text())
    assert product.keys() == {
        "vendor",
        "name",
        "version",
        "website_url",
        "repo_url",
        "documentation_url",
        "type",
        "description",
    }
    assert (product["name"], product["version"], product["type"]) == ("sohu-registry", "v1.2.3", "distribution")
    assert product["description"] == PROJECT["description"]
    assert all(product[name].startswith("https://") for name in product if name.endswith("_url"))


def test_description_repeats_every_variable_of_the_run(bundle):
    [path] = bundle.rglob("README.md")
    text = path.read_text()
    names = [f"OCI_API_{name}" for name in APIS.split()] + [f"OCI_DATA_{name}" for name in DATA.split()]
    assert [name for name in names if f"\nexport {name}=true\n" not in text] == []
    assert "\nexport OCI_VERSION=1.1\n" in text
    assert "--branch v1.2.3 " in text
    assert f"\ngit checkout {suite_commit()}\n" in text


def test_failed_and_skipped_tests_are_named(tmp_path):
    report = tmp_path / "junit.xml"
    cases = "".join(f'<testcase name="{name}" status="{name}"/>' for name in ("passed", "failed", "skipped"))
    report.write_text(f"<testsuite>{cases}</testsuite>")
    assert unpassed(report) == ["failed: failed", "skipped: skipped"]
