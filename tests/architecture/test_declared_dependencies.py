"""Whatever the registry imports is in requirements.lock, so that no development tool brings it by chance."""

import ast
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture.test_lock_files import DEVELOPMENT_LOCK, RUNTIME_LOCK, read_pins, read_project
from tests.support.tools import REPOSITORY_ROOT

OWN = {"core", "adapters", "config", "entrypoints"}


def imported_packages(file: Path) -> set[str]:
    """The first components of all absolute imports of a file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


def foreign_packages() -> set[str]:
    files = [file for folder in OWN for file in (REPOSITORY_ROOT / folder).rglob("*.py")]
    return set().union(*map(imported_packages, files)) - OWN - set(sys.stdlib_module_names)


def optional_packages() -> set[str]:
    """What the extras bring, and no more than the development lock holds."""
    extras = read_project()["project"]["optional-dependencies"].values()
    names = {canonicalize_name(Requirement(text).name) for extra in extras for text in extra}
    return names & read_pins(DEVELOPMENT_LOCK).keys()


def test_imported_packages_are_locked() -> None:
    pins = read_pins(RUNTIME_LOCK).keys() | optional_packages()
    distributions = packages_distributions()
    unlocked = {
        package
        for package in foreign_packages()
        if not {canonicalize_name(name) for name in distributions.get(package, [package])} & pins
    }
    assert unlocked == set()


def test_import_check_sees_packages() -> None:
    """The check above must not pass because it finds nothing."""
    assert {"aiohttp", "yaml"} <= foreign_packages()
