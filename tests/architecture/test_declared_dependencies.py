"""The registry imports nothing but its declared dependencies, and no package of the development tools."""

import ast
import sys
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture.test_lock_file import closure, read_lock, read_project, runtime_packages
from tests.support.statements import statements
from tests.support.tools import REPOSITORY_ROOT

# These tests read the code and run little of it; measuring coverage would double their time.
pytestmark = pytest.mark.unmeasured

OWN = {"core", "adapters", "config", "entrypoints"}


def imported_packages(file: Path) -> set[str]:
    """The first components of all absolute imports of a file."""
    names: set[str] = set()
    for node in statements(file.read_text()):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


@cache
def foreign_packages() -> set[str]:
    files = [file for folder in OWN for file in (REPOSITORY_ROOT / folder).rglob("*.py")]
    return set().union(*map(imported_packages, files)) - OWN - set(sys.stdlib_module_names)


def optional_packages() -> set[str]:
    """Return the packages that the extras bring."""
    extras = read_project()["project"]["optional-dependencies"].values()
    return closure(read_lock(), (Requirement(text).name for extra in extras for text in extra))


def test_imported_packages_are_locked() -> None:
    pins = runtime_packages() | optional_packages()
    distributions = packages_distributions()
    unlocked = {
        package
        for package in foreign_packages()
        if not {canonicalize_name(name) for name in distributions.get(package, [package])} & pins
    }
    assert unlocked == set()


def test_import_check_finds_packages() -> None:
    """The check above must not pass because it finds nothing."""
    assert {"aiohttp", "yaml"} <= foreign_packages()
