"""`make version VERSION=1.2.3`: write a version wherever one is named, and date the changes that it brings."""

import re
import sys
import time
from datetime import UTC, date, datetime
from typing import Final

from scripts.release.errors import ReleaseError
from scripts.release.programs import ROOT, run
from scripts.release.project import UNRELEASED, read_version, unreleased

_BEFORE: Final = r"""
    sohu[-_]registry[:-] | \bregistry- | ^(?:app)?[vV]ersion:\ "? | /version:\ " | ^version\ =\ "
    | [tT]ag:\ " | ^ARG\ VERSION="""
"""Where a file names the version: after one of these."""
_LEFT_ALONE: Final = ("CHANGELOG.md", "uv.lock", "tests/")


def replaced(text: str, old: str, new: str) -> str:
    """Return a text with a new version in every place that names the old one."""
    if old not in text:
        return text
    pattern = rf"(?P<before>{_BEFORE}){re.escape(old)}(?![\w.]*\d)"
    return re.sub(pattern, rf"\g<before>{new}", text, flags=re.VERBOSE | re.MULTILINE)


def dated(changes: str, version: str, day: date) -> str:
    """Return CHANGELOG.md with the unreleased changes in a section of a version.

    Raises:
        ReleaseError: there are no unreleased changes.
    """
    if not re.search(r"^- ", unreleased(changes), re.MULTILINE):
        raise ReleaseError("CHANGELOG.md has no changes under `Unreleased`")
    return changes.replace(UNRELEASED, f"{UNRELEASED}\n## {version} - {day}\n", 1)


def named_files() -> list[str]:
    """Return the committed files in which a version may stand."""
    listed = run("git", "ls-files", "-z").split("\0")
    return [name for name in listed if name and not name.startswith(_LEFT_ALONE)]


def set_version(new: str) -> None:
    """Write a version to every file of the working tree that names the present one.

    Raises:
        ReleaseError: the version is not of the form 1.2.3, or there is nothing to release.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+", new):
        raise ReleaseError(f"{new!r} is not a version of the form 1.2.3")
    old = read_version((ROOT / "pyproject.toml").read_text())
    changes = ROOT / "CHANGELOG.md"
    changes.write_text(dated(changes.read_text(), new, datetime.fromtimestamp(time.time(), UTC).date()))
    for name in named_files():
        path = ROOT / name
        text = path.read_text(errors="surrogateescape")
        if (written := replaced(text, old, new)) != text:
            path.write_text(written, errors="surrogateescape")
            print(name)
    run("uv", "lock", "--quiet")


def main() -> None:
    """Set the version that the command line names."""
    try:
        set_version(sys.argv[1])
    except ReleaseError as error:
        sys.exit(f"version: {error}")


if __name__ == "__main__":
    main()
