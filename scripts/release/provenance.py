"""The provenance of a release: an in-toto statement with SLSA's predicate, version 1."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from scripts.release.project import SOURCE, Commit

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Final = f"{SOURCE}/blob/main/docs/releasing.md#provenance"
LOCK_FILES: Final = ("uv.lock", "scripts/uv.lock")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def statement(
    commit: Commit,
    *,
    products: Mapping[str, str],
    source: Path,
    bases: Mapping[str, str],
    parameters: Mapping[str, Any],
    tools: Mapping[str, str],
) -> dict[str, Any]:
    """Return the statement about the products of a release.

    The statement has no times and no id of a run, so that a commit has one statement.

    Args:
        commit: the commit that was built.
        products: the SHA-256 of each product, by name.
        source: a folder with the files of the commit.
        bases: the digest of each base image, by reference.
        parameters: what the caller of `make release` chose.
        tools: the versions of the programs that built.
    """
    revision = {"gitCommit": commit.revision}
    locks = [
        {
            "uri": f"git+{SOURCE}@{commit.revision}#{name}",
            "name": name,
            "digest": {"sha256": sha256_of(source / name)},
        }
        for name in LOCK_FILES
    ]
    images = [
        {"uri": f"docker://{reference}", "name": "base image", "digest": {"sha256": digest.removeprefix("sha256:")}}
        for reference, digest in bases.items()
    ]
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(products.items())],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "source": {"uri": f"git+{SOURCE}", "digest": revision},
                    "version": commit.version,
                    **parameters,
                },
                "resolvedDependencies": [
                    {"uri": f"git+{SOURCE}@{commit.revision}", "digest": revision},
                    *locks,
                    *images,
                ],
            },
            "runDetails": {"builder": {"id": f"{SOURCE}/blob/main/Makefile#release", "version": dict(tools)}},
        },
    }
