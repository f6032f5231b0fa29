"""The wheel installs in an environment of its own and serves from there."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.oci import make_image
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient
from tests.support.tools import REPOSITORY_ROOT, find_tool

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900), pytest.mark.usefixtures("trust_of_the_machine")]

UV = find_tool("uv")
ARCHIVE = ("core", "adapters", "config", "entrypoints", "pyproject.toml", "uv.lock", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a virtual environment with the locked runtime packages, the wheel, and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    source, environment = folder / "source", folder / "environment"
    source.mkdir()
    _run("cp", "-r", *(str(REPOSITORY_ROOT / name) for name in ARCHIVE), str(source))
    # Offline: the pinned uv carries the build backend.
    _run(UV, "build", "--offline", "--wheel", "--python", sys.executable, "-o", str(folder), str(source))
    [wheel] = folder.glob("*.whl")
    locked = ("sync", "--frozen", "--no-default-groups", "--no-install-project", "--python", sys.executable)
    _run(UV, "--directory", str(source), *locked, environment={"UV_PROJECT_ENVIRONMENT": str(environment)})
    _run(UV, "pip", "install", "--offline", "--no-deps", "--python", str(environment / "bin" / "python"), str(wheel))
    return environment


def test_wheel_carries_the_configuration_files(environment: Path) -> None:
    [installed] = environment.glob("lib/python3*/site-packages/config")
    shipped = {path.name for path in (REPOSITORY_ROOT / "config").glob("*.yml")}
    assert shipped
    assert shipped == {path.name for path in installed.glob("*.yml")}


def test_installed_command_serves(environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The checkout must not be what answers.
    monkeypatch.delenv("PYTHONPATH", raising=False)
    command = (str(environment / "bin" / "registry"), "serve")
    with RegistryServer(tmp_path / "server", tmp_path / "storage", command=command) as server:
        registry = RegistryClient(server.host)
        image = make_image(1)
        registry.push("from/wheel", "v1", image)
        assert image.digest in registry.pull("from/wheel", "v1")


def test_installed_command_prints_its_version(environment: Path) -> None:
    version = _run(str(environment / "bin" / "registry"), "--version")
    assert metadata_version() in version


def test_installed_command_names_a_package_that_comes_before_its_own(environment: Path, tmp_path: Path) -> None:
    (tmp_path / "core.py").touch()
    variables = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [str(environment / "bin" / "registry"), "--version"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"registry: Python finds another package `core`, {tmp_path / 'core.py'}")
    assert done.stderr.count("\n") == 1


def metadata_version() -> str:
    version: str = tomllib.loads((REPOSITORY_ROOT / "pyproject.toml").read_text())["project"]["version"]
    return version


def _run(*command: str, environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout
