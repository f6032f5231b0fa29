"""The wheel installs in an environment of its own and serves from there."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.oci import make_image
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient
from tests.support.tools import REPOSITORY_ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

UV = str(Path(sys.executable).with_name("uv"))


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that holds what requirements.lock names, the wheel, and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    # setuptools leaves build folders behind; the checkout stays clean.
    archive = ("core", "adapters", "config", "entrypoints", "pyproject.toml", "README.md")
    source.mkdir()
    _run("cp", "-r", *(str(REPOSITORY_ROOT / name) for name in archive), str(source))
    _run(
        UV,
        "build",
        "--wheel",
        "--no-build-isolation",
        "--python",
        sys.executable,
        "-o",
        str(folder),
        str(source),
    )
    [wheel] = folder.glob("*.whl")
    environment = folder / "environment"
    _run(UV, "venv", "--python", sys.executable, str(environment))
    install = (UV, "pip", "install", "--python", str(environment / "bin" / "python"))
    _run(*install, "--require-hashes", "-r", str(REPOSITORY_ROOT / "requirements.lock"))
    _run(*install, "--no-deps", str(wheel))
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


def test_installed_command_tells_its_version(environment: Path) -> None:
    version = _run(str(environment / "bin" / "registry"), "--version")
    assert metadata_version() in version


def metadata_version() -> str:
    version: str = tomllib.loads((REPOSITORY_ROOT / "pyproject.toml").read_text())["project"]["version"]
    return version


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout
