"""The commit, the version and the changes that a release is made of."""

import re
import tempfile
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from scripts.release.errors import ReleaseError
from scripts.release.programs import ROOT, run

NAME: Final = "sohu-registry"
SOURCE: Final = "https://github.com/domeos/docker-registry-driver-sohustorage"
UNRELEASED: Final = "## Unreleased\n"


@dataclass(frozen=True)
class Commit:
    """The commit that is released; its time is the time of every file of the release."""

    version: str
    revision: str
    seconds: int

    @property
    def time(self) -> str:
        """Return the time of the commit in UTC."""
        return datetime.fromtimestamp(self.seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_version(text: str) -> str:
    """Return the version that a pyproject.toml declares."""
    version: str = tomllib.loads(text)["project"]["version"]
    return version


def released_commit() -> Commit:
    """Return the commit of the working tree, if it can be released.

    Raises:
        ReleaseError: the tree differs from the commit, or the changes are not dated, or the tag is elsewhere.
    """
    if changed := run("git", "status", "--porcelain"):
        raise ReleaseError(f"the tree differs from its commit; commit or remove:\n{changed.rstrip()}")
    version = read_version((ROOT / "pyproject.toml").read_text())
    check_changes((ROOT / "CHANGELOG.md").read_text(), version)
    revision, seconds = run("git", "log", "-1", "--format=%H %ct").split()
    tagged = run(
        "git",
        "tag",
        "--list",
        "--format=%(if)%(*objectname)%(then)%(*objectname)%(else)%(objectname)%(end)",
        f"v{version}",
    ).strip()
    if tagged not in {"", revision}:
        raise ReleaseError(f"the tag v{version} is at another commit, {tagged}; run `make version VERSION=…`")
    return Commit(version, revision, int(seconds))


def check_changes(changes: str, version: str) -> None:
    """Check that the changes of a version are dated, and that no change comes after them.

    Raises:
        ReleaseError: CHANGELOG.md has no dated section, or has unreleased changes.
    """
    remedy = "run `make version VERSION=…` and commit"
    if not re.search(rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d$", changes, re.MULTILINE):
        raise ReleaseError(f"CHANGELOG.md has no section `## {version} - YYYY-MM-DD`; {remedy}")
    if re.search(r"^- ", unreleased(changes), re.MULTILINE):
        raise ReleaseError(f"CHANGELOG.md has changes under `Unreleased`, after {version}; {remedy}")


def unreleased(changes: str) -> str:
    """Return the section of the changes that no version has yet."""
    _, _, rest = changes.partition(UNRELEASED)
    return rest.partition("\n## ")[0]


def export(folder: Path) -> None:
    """Write the files of the commit to a folder, without anything else that lies in the working tree."""
    # Files of a checkout have the rights of its user's umask; those of the archive are the same everywhere.
    with tempfile.NamedTemporaryFile(suffix=".tar") as archive:
        run("git", "-c", "tar.umask=0022", "archive", "--output", archive.name, "HEAD")
        # The tarfile of Debian 12's Python extracts without a filter only, which newer versions warn of.
        run("tar", "-xp", "--no-same-owner", "-f", archive.name, "-C", folder)
