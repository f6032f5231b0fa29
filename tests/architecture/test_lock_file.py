"""uv.lock holds what pyproject.toml requires, each package with hashes; scripts/uv.lock pins uv itself."""

import re
import tomllib
from collections.abc import Iterable, Iterator
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.support.tools import REPOSITORY_ROOT

INDEX = {"registry": "https://pypi.org/simple"}
UV_LOCK = REPOSITORY_ROOT / "scripts" / "uv.lock"


def read_project() -> dict[str, Any]:
    return tomllib.loads((REPOSITORY_ROOT / "pyproject.toml").read_text())


def locked_packages() -> list[dict[str, Any]]:
    """Return the packages of uv.lock; one that has several versions, by version of Python, appears several times."""
    packages: list[dict[str, Any]] = tomllib.loads((REPOSITORY_ROOT / "uv.lock").read_text())["package"]
    return packages


def read_lock() -> dict[str, dict[str, Any]]:
    """Return the packages of uv.lock by name; all direct requirements have one version."""
    return {package["name"]: package for package in locked_packages()}


def direct_requirements() -> Iterator[Requirement]:
    """Return every requirement of the project, its extras and its groups."""
    project = read_project()
    for texts in (
        project["project"]["dependencies"],
        *project["project"]["optional-dependencies"].values(),
        *project["dependency-groups"].values(),
    ):
        yield from map(Requirement, texts)


def closure(lock: dict[str, dict[str, Any]], names: Iterable[str]) -> set[str]:
    """Return the packages that an installation of `names` brings."""
    found: set[str] = set()
    waiting = [canonicalize_name(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [entry["name"] for entry in lock[name].get("dependencies", ())]
    return found


def runtime_packages() -> set[str]:
    requirements = map(Requirement, read_project()["project"]["dependencies"])
    return closure(read_lock(), (requirement.name for requirement in requirements))


def test_lock_satisfies_the_project() -> None:
    lock = read_lock()
    unmet = [
        str(requirement)
        for requirement in direct_requirements()
        if not requirement.specifier.contains(lock[canonicalize_name(requirement.name)]["version"])
    ]
    assert unmet == [], "run `make lock`"


def test_lock_names_every_requirement() -> None:
    """uv wrote the lock for these requirements and no others."""
    locked = read_lock()["sohu-registry"]["metadata"]
    groups = locked["requires-dev"]
    entries = [*locked["requires-dist"], *(entry for group in groups.values() for entry in group)]
    written = {(entry["name"], frozenset(entry["specifier"].split(","))) for entry in entries}
    wanted = {
        (canonicalize_name(requirement.name), frozenset(str(requirement.specifier).split(",")))
        for requirement in direct_requirements()
    }
    assert written == wanted, "run `make lock`"


def test_lowest_allowed_versions_are_the_tested_ones() -> None:
    """A lower bound below the locked version would allow a version that no test has run."""
    lock = read_lock()
    untested = [
        str(requirement)
        for requirement in direct_requirements()
        for bound in requirement.specifier
        if bound.operator == ">="
        and Version(bound.version) != Version(lock[canonicalize_name(requirement.name)]["version"])
    ]
    assert untested == []


def test_libraries_with_used_private_parts_have_an_upper_bound() -> None:
    bounded = {
        requirement.name
        for requirement in direct_requirements()
        if any(bound.operator == "<" for bound in requirement.specifier)
    }
    assert {"aiohttp", "aiomysql", "prometheus-client"} <= bounded


def test_every_file_of_the_lock_carries_a_hash() -> None:
    packages = [package for package in locked_packages() if package["name"] != "sohu-registry"]
    assert packages
    assert [package["name"] for package in packages if package["source"] != INDEX] == []
    files = [file for package in packages for file in package.get("wheels", ())]
    assert files
    assert [file["url"] for file in files if not file["hash"].startswith("sha256:")] == []


def test_uv_is_pinned_by_hash_and_carries_the_build_backend() -> None:
    [pin] = re.findall(r"^uv==(\S+) \\$", UV_LOCK.read_text(), re.MULTILINE)
    assert UV_LOCK.read_text().count("--hash=sha256:") > 1
    [backend] = map(Requirement, read_project()["build-system"]["requires"])
    assert backend.name == "uv_build"
    assert backend.specifier.contains(pin)
