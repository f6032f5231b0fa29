"""The Dockerfile builds, and its container serves as an ordinary user.

The test machine cannot fetch a base image, so mmdebstrap unpacks one: Python and the few programs that the Dockerfile
calls. Nothing is configured, which would take most of the time. buildah builds on it in a chroot, which needs root but
no container engine.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from config.version import installed_version
from tests.support.clients import Buildah
from tests.support.oci import make_image
from tests.support.ports import free_port
from tests.support.processes import ServerProcess
from tests.support.registry_client import RegistryClient
from tests.support.tools import REPOSITORY_ROOT

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.image,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("trust_of_the_machine"),
]

BASE_IMAGE = "localhost/python:3.11-slim"
IMAGE = "localhost/sohu-registry:test"
PACKAGES = "base-files,base-passwd,coreutils,dash,netbase,passwd,python3,python3-venv,tzdata"
PIP_SETTINGS = Path("/etc/pip.conf")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


class Builder(Buildah):
    """buildah that builds and runs in a chroot."""

    timeout_seconds = 600
    storage_driver = "overlay"

    def start_container(self) -> str:
        return self.run("from", "--pull-never", IMAGE).strip()

    def command_in(self, container: str, *command: str, environment: dict[str, str] | None = None) -> list[str]:
        """The command line that runs `command` in a container, as the user that the image names."""
        variables = [f"--env={name}={value}" for name, value in (environment or {}).items()]
        return [self.executable, "run", "--isolation=chroot", *variables, container, "--", *command]


@pytest.fixture(scope="module")
def builder(
    tool: Callable[[str], str], unavailable: Callable[[str], NoReturn], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Builder]:
    """A buildah whose store holds the base image and ours."""
    mmdebstrap = tool("mmdebstrap")
    tool("buildah")
    if os.geteuid() != 0:
        unavailable("mmdebstrap needs root here")
    home = tmp_path_factory.mktemp("image")
    builder = Builder(home / "buildah", "unused")
    root = make_base_root(mmdebstrap, home / "root")
    container = builder.run("from", "scratch").strip()
    builder.run("add", "--quiet", container, str(root), "/")
    builder.run("commit", "--quiet", "--rm", container, BASE_IMAGE)
    shutil.rmtree(root)
    build = ("build", "--isolation=chroot", "--format=docker", "--pull-never", "--tag", IMAGE)
    builder.run(*build, "--build-arg", f"BASE_IMAGE={BASE_IMAGE}", str(REPOSITORY_ROOT))
    yield builder
    builder.run("rm", "--all")


def make_base_root(mmdebstrap: str, root: Path) -> Path:
    """Unpack a Debian with Python that trusts the certificates of this machine."""
    subprocess.run(
        [mmdebstrap, "--quiet", "--variant=extract", f"--include={PACKAGES}", "bookworm", str(root)],
        check=True,
        timeout=600,
        stdin=subprocess.DEVNULL,
    )
    # The package base-passwd would copy these when it is configured.
    for name in ("passwd", "group"):
        shutil.copyfile(root / f"usr/share/base-passwd/{name}.master", root / "etc" / name)
    for setting in (PIP_SETTINGS, CERTIFICATES):
        if setting.exists():
            target = root / setting.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(setting, target)
    return root


@pytest.fixture
def container(builder: Builder) -> Iterator[str]:
    name = builder.start_container()
    yield name
    builder.run("rm", name)


def test_image_declares_how_it_runs(builder: Builder) -> None:
    settings: dict[str, Any] = json.loads(builder.run("inspect", "--type=image", IMAGE))["Docker"]["config"]

    assert settings["Entrypoint"] == ["registry"]
    assert settings["Cmd"] == ["serve"]
    assert "REGISTRY_CONFIGURATION_PATH=/etc/docker/registry/config.yml" in settings["Env"]
    assert settings["User"] == "10001:10001"
    assert list(settings["ExposedPorts"]) == ["5000/tcp"]
    assert list(settings["Volumes"]) == ["/var/lib/registry"]
    assert settings["Healthcheck"]["Test"][0] == "CMD"
    assert "TZ=Asia/Shanghai" in settings["Env"]
    assert settings["Labels"]["org.opencontainers.image.version"] == installed_version()
    assert settings["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert settings["Labels"]["org.opencontainers.image.base.name"] == BASE_IMAGE


def test_image_contains_the_default_configuration(builder: Builder, container: str) -> None:
    shown = subprocess.check_output(
        builder.command_in(container, "cat", "/etc/docker/registry/config.yml"), env=builder.environment, timeout=60
    )
    assert shown == (REPOSITORY_ROOT / "config" / "config-scs.yml").read_bytes()


def test_image_can_send_traces(builder: Builder, container: str) -> None:
    command = builder.command_in(container, "python3", "-c", "import adapters.tracing.otel")
    subprocess.run(command, env=builder.environment, check=True, timeout=60)


def test_image_has_the_bytecode_of_each_module_of_a_start(builder: Builder, container: str) -> None:
    program = (
        "import sys, pathlib, entrypoints.process.server, entrypoints.healthcheck\n"
        "cached = [module.__cached__ for module in sys.modules.values() if getattr(module, '__cached__', None)]\n"
        "print(len(cached), *(name for name in cached if not pathlib.Path(name).exists()))"
    )
    command = builder.command_in(container, "python3", "-c", program)
    count, *missing = subprocess.check_output(command, env=builder.environment, timeout=60, text=True).split()
    assert missing == []
    assert int(count) > 500


def test_container_serves_as_an_ordinary_user(builder: Builder, container: str, tmp_path: Path) -> None:
    port = free_port()
    environment = {
        "REGISTRY_STORAGE": "filesystem",
        "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": "/var/lib/registry",
        "REGISTRY_HTTP_ADDR": f"127.0.0.1:{port}",
        "SEARCH_BACKEND": "LOCAL",
    }
    command = builder.command_in(container, "registry", "serve", environment=environment)
    with ServerProcess(command, port=port, folder=tmp_path, environment=builder.environment) as server:
        registry = RegistryClient(server.host)
        image = make_image(1)
        registry.push("in/container", "v1", image)

        assert image.digest in registry.pull("in/container", "v1")
        assert {owner_of_listener(port)} == {10001}
        assert registry.catalog() == ["in/container"]
        settings = json.loads(builder.run("inspect", "--type=image", IMAGE))["Docker"]["config"]
        check = builder.command_in(container, *settings["Healthcheck"]["Test"][1:], environment=environment)
        subprocess.run(check, env=builder.environment, check=True, timeout=60)


def test_container_without_credentials_names_the_missing_key(builder: Builder, container: str) -> None:
    command = builder.command_in(container, "registry", "serve")
    done = subprocess.run(command, env=builder.environment, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode != 0
    assert "accesskey" in (done.stdout + done.stderr).lower()


def test_container_can_write_the_catalog_file(builder: Builder, container: str) -> None:
    command = builder.command_in(container, "sh", "-c", "touch /opt/registry/repositories && id -u && date +%Z")
    shown = subprocess.check_output(command, env=builder.environment, timeout=60, text=True)
    assert shown.split() == ["10001", "CST"]


def owner_of_listener(port: int) -> int:
    """The user who listens on a port of this machine, from the kernel's table."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(f":{port:04X}") and fields[3] == "0A":
            return int(fields[7])
    raise AssertionError(f"nobody listens on {port}")
