"""The package and the chart, from the files of a commit."""

import sys
from pathlib import Path

from scripts.release.archives import repack
from scripts.release.programs import run
from scripts.release.project import Commit


def build_packages(source: Path, target: Path) -> list[Path]:
    """Write the wheel and the source archive to a folder, and return their paths."""
    # Offline: the pinned uv carries the build backend.
    options = ("--quiet", "--offline", "--no-create-gitignore", "--python", sys.executable, "--out-dir", target)
    run("uv", "build", "--wheel", "--sdist", *options, source)
    return sorted(target.glob("sohu_registry-*"))


def package_chart(source: Path, commit: Commit, scratch: Path, target: Path) -> Path:
    """Write the chart to a folder, and return its path."""
    run("helm", "package", source / "deploy/helm/registry", "--destination", scratch)
    [package] = scratch.glob("registry-*.tgz")
    # helm writes the time of its run into the archive.
    repack(package, target / package.name, seconds=commit.seconds)
    return target / package.name
