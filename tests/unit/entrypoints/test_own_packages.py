"""Another package with the name of one of ours is named at start, before it can fail in an unclear way."""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

import pytest

from entrypoints.own_packages import find_foreign
from tests.support.tools import REPOSITORY_ROOT

Find = Callable[[str], ModuleSpec | None]


def finder(*folders: Path) -> Find:
    return partial(PathFinder.find_spec, path=[str(folder) for folder in folders])


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    folder = tmp_path / "ours"
    for name in ("adapters", "config", "core"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").touch()
    return folder


def test_own_packages_are_accepted(ours: Path, tmp_path: Path) -> None:
    assert find_foreign(REPOSITORY_ROOT) is None
    assert find_foreign(ours, find=finder(tmp_path, ours)) is None
    (tmp_path / "link").symlink_to(ours)
    assert find_foreign(ours, find=finder(tmp_path / "link")) is None


@pytest.mark.parametrize("file", ["config/__init__.py", "core.py"])
def test_package_or_module_that_comes_first_is_named(ours: Path, tmp_path: Path, file: str) -> None:
    other = tmp_path / "other" / file
    other.parent.mkdir(parents=True)
    other.touch()
    problem = find_foreign(ours, find=finder(tmp_path / "other", ours))
    assert problem
    name = file.partition("/")[0].removesuffix(".py")
    assert f"another package `{name}`, {tmp_path / 'other' / file.removesuffix('/__init__.py')}" in problem
    assert "environment of its own" in problem


def test_missing_package_is_named(ours: Path) -> None:
    (ours / "core").rename(ours / "moved")
    problem = find_foreign(ours, find=finder(ours))
    assert problem
    assert problem.startswith("the package `core` is missing")


def test_command_prints_one_line_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "__init__.py").write_text("raise RuntimeError('not to be imported')\n")
    done = subprocess.run(
        [sys.executable, "-m", "entrypoints.cli", "--version"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY_ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"registry: Python finds another package `config`, {tmp_path / 'config'}")
