"""The container engines that run as daemons, dockerd and containerd, with all their files in a folder of a test.

Each daemon has a mount namespace of its own, so that no mount outlives the daemon. No test starts a container, so there
are no other leftovers. Both daemons need root.
"""

import http.client
import json
import os
import shutil
import socket
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from typing_extensions import override

from tests.support.clients import CommandLineClient
from tests.support.oci import digest_of
from tests.support.ports import free_port
from tests.support.processes import ServerProcess
from tests.support.tools import find_tool

_ANSWER_TIMEOUT_SECONDS = 5
_SOCKET_PATH_BYTES_MAX = 107


@contextmanager
def daemon_folder(path: Path, unavailable: Callable[[str], NoReturn]) -> Iterator[Path]:
    """Make a folder for daemons, and remove it at the end; end the test if this user cannot run daemons."""
    if os.geteuid() != 0:
        unavailable("dockerd and containerd need root")
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path)


class ContainerdDaemon(ServerProcess):
    """containerd without the services for Kubernetes."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.socket = _checked(folder / "containerd.sock")
        config_path = folder / "containerd.toml"
        config_path.write_text(_CONTAINERD_CONFIG.format(folder=folder, socket=self.socket))
        command = [*_own_mounts(), find_tool("containerd"), "--config", str(config_path)]
        super().__init__(command, port=free_port(), folder=folder)

    @override
    def answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(_ANSWER_TIMEOUT_SECONDS)
            return client.connect_ex(str(self.socket)) == 0


class DockerDaemon(ServerProcess):
    """dockerd that stores whole folders, uses a running containerd, and sets up no network.

    Args:
        folder: folder for its files.
        containerd: the containerd that it uses.
        config: content of `daemon.json`.
        certificates: the folder that the daemon finds at `/etc/docker/certs.d`; None for that of the machine. For the
            daemon, `localhost` is then `::1` only: from a host in 127/8 it accepts any certificate, and shows none.
    """

    def __init__(
        self,
        folder: Path,
        containerd: ContainerdDaemon,
        *,
        config: Mapping[str, Any],
        certificates: Path | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.socket = _checked(folder / "docker.sock")
        config_path = folder / "daemon.json"
        # Otherwise the daemon writes a key into /etc/docker.
        config_path.write_text(json.dumps({**config, "deprecated-key-path": str(folder / "key.json")}))
        options = {
            "config-file": config_path,
            "containerd": containerd.socket,
            "data-root": folder / "data",
            "exec-root": folder / "exec",
            "pidfile": folder / "docker.pid",
            "host": f"unix://{self.socket}",
            "storage-driver": "vfs",
            "bridge": "none",
            "iptables": "false",
            "ip6tables": "false",
        }
        arguments = [f"--{name}={value}" for name, value in options.items()]
        super().__init__(
            [*_own_mounts(certificates), find_tool("dockerd"), *arguments], port=free_port(), folder=folder
        )

    @override
    def answers(self) -> bool:
        connection = http.client.HTTPConnection("localhost", timeout=_ANSWER_TIMEOUT_SECONDS)
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(_ANSWER_TIMEOUT_SECONDS)
            try:
                client.connect(str(self.socket))
                connection.sock = client
                connection.request("GET", "/_ping")
                return connection.getresponse().status == 200
            except (OSError, http.client.HTTPException):
                return False


class Docker(CommandLineClient):
    """The docker command with a daemon; images stay in the daemon until they are removed."""

    program = "docker"

    def __init__(self, home: Path, host: str, daemon: DockerDaemon) -> None:
        super().__init__(home, host)
        self.environment["DOCKER_HOST"] = f"unix://{daemon.socket}"

    @override
    def push(self, layout: Path, tag: str, name: str) -> None:
        archive = self.home / "archive.tar"
        target = self.reference(name)
        copy = (find_tool("skopeo"), "--insecure-policy", "copy", f"oci:{layout}:{tag}")
        self.run_program(*copy, f"docker-archive:{archive}:{target}")
        self.run("load", "--quiet", "--input", str(archive))
        self.run("push", "--quiet", target)
        self.remove(target)

    @override
    def pull(self, name: str) -> str:
        return self.pull_image(self.reference(name))

    def pull_image(self, image: str) -> str:
        """Pull an image by the name that a user writes, and return the digest of its config."""
        self.run("pull", "--quiet", image)
        return self.run("image", "inspect", "--format={{.Id}}", image).strip()

    def remove(self, image: str) -> None:
        """Remove an image with its layers, so that the next pull has to fetch them."""
        self.run("image", "rm", "--force", image)


class Ctr(CommandLineClient):
    """The command ctr with a containerd; each client has a namespace of its own in it.

    The file `hosts.toml` of each registry lies in a folder below `hosts`.
    """

    program = "ctr"

    def __init__(self, home: Path, host: str, daemon: ContainerdDaemon) -> None:
        super().__init__(home, host)
        self.hosts = home / "certs.d"
        self.hosts.mkdir()
        self.environment["CONTAINERD_ADDRESS"] = str(daemon.socket)
        # Namespaces share no content: what one client has pulled, another one has to fetch.
        self.environment["CONTAINERD_NAMESPACE"] = digest_of(bytes(home))[-16:]

    def configure_host(self, name: str, content: str) -> None:
        """Write the `hosts.toml` of a registry, or of all others for the name `_default`."""
        folder = self.hosts / name
        folder.mkdir(exist_ok=True)
        (folder / "hosts.toml").write_text(content)

    @override
    def push(self, layout: Path, tag: str, name: str) -> None:
        target = self.reference(name)
        archive = self.home / "archive.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(layout, ".")
        self.run("images", "import", "--snapshotter=native", f"--index-name={target}-index", str(archive))
        imported = self.run("images", "ls", "--quiet").split()
        [source] = [image for image in imported if not image.endswith("-index")]
        self.run("images", "tag", source, target)
        self.run("images", "push", f"--hosts-dir={self.hosts}", "--plain-http", target)

    @override
    def pull(self, name: str) -> str:
        return self.pull_image(self.reference(name))

    def pull_image(self, image: str, *options: str) -> str:
        """Pull an image by its full name, and return the digest of the manifest or index that it names."""
        self.run("images", "pull", "--snapshotter=native", f"--hosts-dir={self.hosts}", *options, image)
        [line] = [line for line in self.run("images", "ls").splitlines() if line.split()[0] == image]
        return line.split()[2]

    def content(self) -> set[str]:
        """Return the digests of all manifests and blobs that containerd has pulled for this client."""
        return set(self.run("content", "ls", "--quiet").split())


_CONTAINERD_CONFIG = """
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{socket}"
[ttrpc]
  address = "{socket}.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
"""


def _own_mounts(certificates: Path | None = None) -> tuple[str, ...]:
    """Return the beginning of a command with mounts of its own, and `certificates` in the place of docker's folder."""
    unshare = (find_tool("unshare"), "--mount", "--propagation=private")
    if certificates is None:
        return unshare
    (hosts := certificates.with_suffix(".hosts")).write_text("::1 localhost\n")
    script = 'mkdir -p /etc/docker/certs.d && mount --bind "$0" /etc/docker/certs.d && mount --bind "$1" /etc/hosts'
    return (*unshare, "sh", "-c", f'{script} && shift && exec "$@"', str(certificates), str(hosts))


def _checked(path: Path) -> Path:
    """Return the path of a socket, if the kernel takes a path of this length."""
    if len(os.fsencode(f"{path}.ttrpc")) > _SOCKET_PATH_BYTES_MAX:
        raise ValueError(f"{path}: too long for a socket")
    return path
