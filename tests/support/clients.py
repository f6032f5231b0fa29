"""Command-line clients behind two operations: push an OCI layout, and pull an image into an empty place.

Each client keeps its state in its own folder, so that neither the user's credentials nor a previously pulled image can
make a test pass.
"""

import hashlib
import json
import os
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import override

from tests.support.tools import find_tool


class CommandError(Exception):
    """A command failed; the message contains the command line, exit code and output."""


def run(*command: str, environment: Mapping[str, str], folder: Path, timeout: float) -> str:
    """Run a command to its end and return its standard output."""
    done = subprocess.run(
        command,
        env=dict(environment),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode:
        raise CommandError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


class CommandLineClient(ABC):
    """Client program with its own home folder, connected to one registry over plain HTTP."""

    program: ClassVar[str]
    timeout_seconds: ClassVar[float] = 60

    def __init__(self, home: Path, host: str) -> None:
        (home / ".docker").mkdir(parents=True)
        # podman and buildah refuse to start if DOCKER_CONFIG names a folder without this file.
        (home / ".docker" / "config.json").write_text("{}")
        self.home = home
        self.host = host
        self.executable = find_tool(self.program)
        self.environment = {
            "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home),
            "XDG_CONFIG_HOME": str(home / ".config"),
            "DOCKER_CONFIG": str(home / ".docker"),
            "TMPDIR": str(home),
        }

    def run(self, *arguments: str) -> str:
        """Run the client and return its standard output."""
        return self.run_program(self.executable, *arguments)

    def run_program(self, *command: str) -> str:
        """Run any program in the environment of the client and return its standard output."""
        return run(*command, environment=self.environment, folder=self.home, timeout=self.timeout_seconds)

    def reference(self, name: str) -> str:
        """Return the full name of an image, from `repository:tag` or `repository@digest`."""
        return f"{self.host}/{name}"

    @abstractmethod
    def push(self, layout: Path, tag: str, name: str) -> None:
        """Push the content that the OCI layout holds under `tag` to the registry as `name`."""

    @abstractmethod
    def pull(self, name: str) -> str:
        """Pull an image into an empty place and return the digest of its config, which identifies its content."""


class Skopeo(CommandLineClient):
    """skopeo (containers/image)."""

    program = "skopeo"

    @override
    def push(self, layout: Path, tag: str, name: str) -> None:
        target = f"docker://{self.reference(name)}"
        self.run("--insecure-policy", "copy", "--all", "--dest-tls-verify=false", f"oci:{layout}:{tag}", target)

    @override
    def pull(self, name: str) -> str:
        target = self.home / "pulled"
        source = f"docker://{self.reference(name)}"
        self.run("--insecure-policy", "copy", "--src-tls-verify=false", source, f"dir:{target}")
        return _config_digest((target / "manifest.json").read_bytes())


class _EngineClient(CommandLineClient):
    """Base of podman and buildah: clients with a local image store."""

    storage_driver = "vfs"
    """Storage driver that copies whole folders and works on every file system."""

    def __init__(self, home: Path, host: str) -> None:
        super().__init__(home, host)
        configuration = self.home / ".config" / "containers"
        configuration.mkdir(parents=True)
        (configuration / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        self.environment["CONTAINERS_STORAGE_CONF"] = str(configuration / "storage.conf")
        folders = f'graphroot = "{self.home}/graph"\nrunroot = "{self.home}/run"\n'
        (configuration / "storage.conf").write_text(f'[storage]\ndriver = "{self.storage_driver}"\n{folders}')

    @override
    def push(self, layout: Path, tag: str, name: str) -> None:
        image = self.run("pull", "--quiet", f"oci:{layout}:{tag}").split()[-1]
        self.run("push", "--tls-verify=false", image, f"docker://{self.reference(name)}")
        self.run("rmi", "--force", image)

    @override
    def pull(self, name: str) -> str:
        image = self.run("pull", "--quiet", "--tls-verify=false", self.reference(name)).split()[-1]
        return f"sha256:{image.removeprefix('sha256:')}"


class Podman(_EngineClient):
    """podman."""

    program = "podman"

    @override
    def run(self, *arguments: str) -> str:
        return super().run("--cgroup-manager=cgroupfs", "--events-backend=none", *arguments)


class Buildah(_EngineClient):
    """buildah."""

    program = "buildah"


class Crane(CommandLineClient):
    """crane (go-containerregistry)."""

    program = "crane"

    @override
    def run(self, *arguments: str) -> str:
        return super().run(*arguments, "--insecure")

    @override
    def push(self, layout: Path, tag: str, name: str) -> None:
        self.run("push", str(layout), self.reference(name))

    @override
    def pull(self, name: str) -> str:
        return _config_digest_of_layout(self._pull_layout(name))

    def _pull_layout(self, name: str) -> Path:
        target = self.home / "pulled"
        self.run("pull", "--format=oci", self.reference(name), str(target))
        return target


class Oras(CommandLineClient):
    """oras."""

    program = "oras"

    @override
    def push(self, layout: Path, tag: str, name: str) -> None:
        source = f"{layout}:{tag}"
        self.run("cp", "--recursive", "--from-oci-layout", source, "--to-plain-http", self.reference(name))

    @override
    def pull(self, name: str) -> str:
        target = self.home / "pulled"
        self.run("cp", "--from-plain-http", self.reference(name), "--to-oci-layout", f"{target}:pulled")
        return _config_digest_of_layout(target)


class Regctl(CommandLineClient):
    """regctl (regclient)."""

    program = "regctl"

    def __init__(self, home: Path, host: str) -> None:
        super().__init__(home, host)
        self.run("registry", "set", "--tls", "disabled", self.host)

    @override
    def push(self, layout: Path, tag: str, name: str) -> None:
        self.run("image", "copy", f"ocidir://{layout}:{tag}", self.reference(name))

    @override
    def pull(self, name: str) -> str:
        target = self.home / "pulled"
        self.run("image", "copy", self.reference(name), f"ocidir://{target}:pulled")
        return _config_digest_of_layout(target)


CLIENTS: tuple[type[CommandLineClient], ...] = (Skopeo, Podman, Buildah, Crane, Oras, Regctl)


def _config_digest(manifest: bytes) -> str:
    digest: str = json.loads(manifest)["config"]["digest"]
    return digest


def _config_digest_of_layout(layout: Path) -> str:
    index: dict[str, Any] = json.loads((layout / "index.json").read_text())
    algorithm, _, encoded = index["manifests"][0]["digest"].partition(":")
    manifest = (layout / "blobs" / algorithm / encoded).read_bytes()
    if hashlib.new(algorithm, manifest).hexdigest() != encoded:
        raise CommandError(f"{layout} holds bytes that are not {algorithm}:{encoded}")
    return _config_digest(manifest)
