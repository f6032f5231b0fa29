"""The bill of materials of a release: CycloneDX 1.6 from uv.lock."""

import json
import uuid
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from scripts.release.errors import ReleaseError
from scripts.release.programs import run
from scripts.release.project import SOURCE, Commit

EXTRAS: Final = ("otel",)
"""The extras of the container image, as in the Dockerfile."""
_CLASSIFIER = "License :: OSI Approved :: "
_NAME_LENGTH_MAX = 80
"""A longer licence in the metadata of a package is the text of the licence."""


Licences = Callable[[str, str], list[dict[str, Any]]]


def exported_packages(source: Path) -> dict[str, Any]:
    """Return uv's own bill of the packages that the image holds, in the form of CycloneDX 1.5."""
    extras = [word for extra in EXTRAS for word in ("--extra", extra)]
    options = ("--frozen", "--no-default-groups", "--format", "cyclonedx1.5", "--preview-features", "sbom-export")
    text = run("uv", "export", "--quiet", *options, *extras, folder=source)
    document: dict[str, Any] = json.loads(text)
    return document


def bill_of_materials(exported: Mapping[str, Any], commit: Commit, licences: Licences) -> dict[str, Any]:
    """Return the bill of a commit in CycloneDX 1.6.

    Args:
        exported: the bill of uv.
        commit: supplies what uv would take from the clock and at random, so that a commit has one bill.
        licences: returns the licences of a package, by name and version.
    """
    [uv] = exported["metadata"]["tools"]
    root = exported["metadata"]["component"]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, f"{SOURCE}/tree/{commit.revision}").urn,
        "version": 1,
        "metadata": {
            "timestamp": commit.time,
            "tools": {"components": [{"type": "application", "name": uv["name"], "version": uv["version"]}]},
            "component": {
                "type": "application",
                "bom-ref": root["bom-ref"],
                "name": root["name"],
                "version": root["version"],
                "purl": f"pkg:pypi/{root['name']}@{root['version']}",
                "licenses": [{"expression": "Apache-2.0"}],
                "externalReferences": [{"type": "vcs", "url": SOURCE, "comment": f"commit {commit.revision}"}],
            },
        },
        "components": [_with_licences(component, licences) for component in exported["components"]],
        "dependencies": exported["dependencies"],
    }


def installed_licences(name: str, version: str) -> list[dict[str, Any]]:
    """Return the licences that an installed package declares; none if this version is not installed."""
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return []
    return declared_licences(found.metadata) if found.version == version else []


def declared_licences(fields: metadata.PackageMetadata) -> list[dict[str, Any]]:
    """Return the licences in the metadata of a package: its SPDX expression, else its classifiers, else its text."""
    if expressions := fields.get_all("License-Expression"):
        return [{"expression": str(expressions[0])}]
    classifiers = [str(line) for line in fields.get_all("Classifier", [])]
    names = [line.removeprefix(_CLASSIFIER) for line in classifiers if line.startswith(_CLASSIFIER)]
    texts = [str(text) for text in fields.get_all("License", [])]
    names = names or [text for text in texts if len(text) <= _NAME_LENGTH_MAX and "\n" not in text]
    return [{"license": {"name": name}} for name in names]


def check(document: Mapping[str, Any]) -> None:
    """Check a bill against CycloneDX's JSON schema.

    Raises:
        ReleaseError: the bill does not match the schema.
    """
    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document)):
        raise ReleaseError(f"the bill of materials does not match CycloneDX 1.6: {error}")


def _with_licences(component: Mapping[str, Any], licences: Licences) -> dict[str, Any]:
    found = licences(component["name"], component["version"])
    return {**component, **({"licenses": found} if found else {})}
