"""The provenance names what was built, and from what."""

import pytest

from scripts.release.programs import ROOT
from scripts.release.project import Commit
from scripts.release.provenance import sha256_of, statement

COMMIT = Commit("1.2.3", "0123456789abcdef0123456789abcdef01234567", 1_700_000_000)
BASE = "docker.io/library/python@sha256:" + "b" * 64


@pytest.fixture
def document():
    return statement(
        COMMIT,
        products={"b.whl": "2" * 64, "a.tgz": "1" * 64},
        source=ROOT,
        bases={BASE: "sha256:" + "b" * 64},
        parameters={"platforms": ["amd64"]},
        tools={"uv": "1"},
    )


def test_statement_has_the_types_of_in_toto_and_slsa(document):
    assert document["_type"] == "https://in-toto.io/Statement/v1"
    assert document["predicateType"] == "https://slsa.dev/provenance/v1"
    assert document["predicate"].keys() == {"buildDefinition", "runDetails"}


def test_subjects_are_the_products(document):
    assert document["subject"] == [
        {"name": "a.tgz", "digest": {"sha256": "1" * 64}},
        {"name": "b.whl", "digest": {"sha256": "2" * 64}},
    ]


def test_statement_names_the_commit_the_lock_files_and_the_base_image(document):
    definition = document["predicate"]["buildDefinition"]
    assert definition["externalParameters"]["source"]["digest"] == {"gitCommit": COMMIT.revision}
    assert definition["externalParameters"]["platforms"] == ["amd64"]
    commit, *materials = definition["resolvedDependencies"]
    assert commit["digest"] == {"gitCommit": COMMIT.revision}
    assert {material["name"]: material["digest"]["sha256"] for material in materials} == {
        "uv.lock": sha256_of(ROOT / "uv.lock"),
        "scripts/uv.lock": sha256_of(ROOT / "scripts" / "uv.lock"),
        "base image": "b" * 64,
    }
    assert materials[-1]["uri"] == f"docker://{BASE}"
