"""The bill of materials contains the locked packages of the image, and matches CycloneDX's schema."""

import copy
import json
from collections.abc import Iterator
from importlib import metadata

import pytest

from scripts.release import sbom
from scripts.release.errors import ReleaseError
from scripts.release.programs import ROOT
from scripts.release.project import Commit, read_version
from tests.architecture.test_lock_file import locked_packages, read_lock

COMMIT = Commit("1.2.3", "0123456789abcdef0123456789abcdef01234567", 1_700_000_000)


@pytest.fixture(scope="module")
def exported():
    return sbom.exported_packages(ROOT)


@pytest.fixture(scope="module")
def bill(exported):
    return sbom.bill_of_materials(exported, COMMIT, sbom.installed_licences)


def image_packages() -> Iterator[tuple[str, str]]:
    """Yield every package that uv.lock gives the image, with its version."""
    lock = read_lock()
    waiting = [("sohu-registry", ""), *(("sohu-registry", extra) for extra in sbom.EXTRAS)]
    found: set[tuple[str, str]] = set()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        package = lock[name]
        entries = package["optional-dependencies"][extra] if extra else package.get("dependencies", [])
        waiting += [(entry["name"], chosen) for entry in entries for chosen in ("", *entry.get("extra", ()))]
    names = {name for name, _ in found} - {"sohu-registry"}
    return ((package["name"], package["version"]) for package in locked_packages() if package["name"] in names)


def test_bill_contains_every_package_of_the_image_once(bill):
    listed = [(component["name"], component["version"]) for component in bill["components"]]
    assert len(listed) > 30
    assert sorted(listed) == sorted(image_packages())


def test_every_package_has_hashes_and_most_have_a_licence(bill):
    for component in bill["components"]:
        files = component["externalReferences"]
        assert all(file["hashes"][0]["alg"] == "SHA-256" for file in files), component["name"]
    unknown = [component["name"] for component in bill["components"] if "licenses" not in component]
    # These are for other systems or versions of Python, so they are not installed here.
    assert len(unknown) < len(bill["components"]) / 5, unknown


def test_bill_names_the_product_and_matches_the_schema(bill):
    product = bill["metadata"]["component"]
    assert (product["name"], product["version"]) == (
        "sohu-registry",
        read_version((ROOT / "pyproject.toml").read_text()),
    )
    assert COMMIT.revision in json.dumps(product["externalReferences"])
    assert bill["metadata"]["timestamp"] == "2023-11-14T22:13:20Z"
    sbom.check(bill)


def test_damaged_bill_is_refused(bill):
    damaged = copy.deepcopy(bill)
    damaged["components"][0]["type"] = "parcel"
    with pytest.raises(ReleaseError, match=r"CycloneDX 1\.6"):
        sbom.check(damaged)


def test_a_commit_has_one_bill(exported, bill):
    later = {**exported, "serialNumber": "urn:uuid:0", "metadata": {**exported["metadata"], "timestamp": "later"}}
    assert sbom.bill_of_materials(later, COMMIT, sbom.installed_licences) == bill


@pytest.mark.parametrize(
    ("fields", "licences"),
    [
        ({"License-Expression": "MIT OR Apache-2.0", "License": "other"}, [{"expression": "MIT OR Apache-2.0"}]),
        (
            {"Classifier": "License :: OSI Approved :: MIT License", "License": "x"},
            [{"license": {"name": "MIT License"}}],
        ),
        ({"Classifier": "Typing :: Typed", "License": "BSD"}, [{"license": {"name": "BSD"}}]),
        ({"License": "Permission is\n hereby granted"}, []),
        ({}, []),
    ],
)
def test_declared_licences(fields, licences, tmp_path):
    lines = [f"{name}: {value}\n" for name, value in fields.items()]
    (tmp_path / "METADATA").write_text("".join(["Metadata-Version: 2.4\n", *lines]))
    assert sbom.declared_licences(metadata.PathDistribution(tmp_path).metadata) == licences


def test_package_that_is_not_installed_in_this_version_has_no_licence():
    assert sbom.installed_licences("pytest", "0.0.1") == sbom.installed_licences("no-such-package", "1") == []
