"""The lock files hold what pyproject.toml asks for, each with hashes, and both say the same."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.tools import REPOSITORY_ROOT

BUILD_LOCK = REPOSITORY_ROOT / "requirements-build.lock"
RUNTIME_LOCK = REPOSITORY_ROOT / "requirements.lock"
TRACING_LOCK = REPOSITORY_ROOT / "requirements-otel.lock"
DEVELOPMENT_LOCK = REPOSITORY_ROOT / "requirements-dev.lock"
PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ]+)", re.MULTILINE)


def read_pins(lock: Path) -> dict[str, str]:
    return {canonicalize_name(pin["name"]): pin["version"] for pin in PIN.finditer(lock.read_text())}


def read_project() -> dict:
    return tomllib.loads((REPOSITORY_ROOT / "pyproject.toml").read_text())


def unsatisfied(requirements: list[str], pins: dict[str, str]) -> list[str]:
    """The requirements that no pin of the lock file meets."""
    parsed = [Requirement(text) for text in requirements]
    return [
        str(requirement)
        for requirement in parsed
        if not requirement.specifier.contains(pins.get(canonicalize_name(requirement.name), "0"))
    ]


def test_runtime_lock_meets_the_project() -> None:
    requirements = read_project()["project"]["dependencies"]
    assert unsatisfied(requirements, read_pins(RUNTIME_LOCK)) == [], "run `make lock`"


def test_development_lock_meets_the_project() -> None:
    project = read_project()
    requirements = project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    assert unsatisfied(requirements, read_pins(DEVELOPMENT_LOCK)) == [], "run `make lock`"


def test_build_lock_meets_the_build_system() -> None:
    requirements = read_project()["build-system"]["requires"]
    assert unsatisfied(requirements, read_pins(BUILD_LOCK)) == [], "run `make lock`"


def test_tracing_lock_meets_the_project_and_its_extra() -> None:
    project = read_project()["project"]
    requirements = project["dependencies"] + project["optional-dependencies"]["otel"]
    assert unsatisfied(requirements, read_pins(TRACING_LOCK)) == [], "run `make lock`"


def test_development_runs_what_ships() -> None:
    assert read_pins(RUNTIME_LOCK).items() <= read_pins(TRACING_LOCK).items() <= read_pins(DEVELOPMENT_LOCK).items()


@pytest.mark.parametrize("lock", [BUILD_LOCK, RUNTIME_LOCK, TRACING_LOCK, DEVELOPMENT_LOCK], ids=lambda lock: lock.name)
def test_every_pin_carries_a_hash(lock: Path) -> None:
    entries = [entry for entry in re.split(r"\n(?=[a-zA-Z0-9])", lock.read_text()) if PIN.match(entry)]
    assert entries
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []
