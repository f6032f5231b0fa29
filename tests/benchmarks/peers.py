"""The measured registries; each is started on a folder with its default settings."""

import json
from collections.abc import Callable
from pathlib import Path

from tests.support.ports import free_port
from tests.support.processes import RegistryServer, ServerProcess
from tests.support.tools import ToolMissingError, find_distribution, find_tool

StartPeer = Callable[[Path, Path], ServerProcess]


def find_peers(names: list[str]) -> dict[str, StartPeer]:
    """Ours, Debian's docker-registry, and what else was asked for, as `name` or `name=/path/to/program`.

    Raises:
        ToolMissingError: a peer is not there.
    """
    docker_registry = find_tool("docker-registry")
    peers: dict[str, StartPeer] = {"ours": _ours, "docker-registry": _distribution(docker_registry)}
    for entry in names:
        name, _, path = entry.partition("=")
        if name == "distribution":
            peers[name] = _distribution(path or find_distribution())
        elif name == "zot" and path:
            peers[name] = _zot(path)
        else:
            raise ToolMissingError(f"peer {entry!r}: known are distribution[=PATH] and zot=PATH")
    return peers


def _ours(folder: Path, storage: Path) -> ServerProcess:
    return RegistryServer(folder, storage, may_fork=False)


def _distribution(program: str) -> StartPeer:
    environment = {"OTEL_TRACES_EXPORTER": "none"}

    def start(folder: Path, storage: Path) -> ServerProcess:
        return RegistryServer(folder, storage, command=(program, "serve"), environment=environment)

    return start


def _zot(program: str) -> StartPeer:
    def start(folder: Path, storage: Path) -> ServerProcess:
        port = free_port()
        config = folder / "zot.json"
        folder.mkdir(parents=True, exist_ok=True)
        document = {
            # commit is its fsync: without it a push is acknowledged before it is durable.
            "storage": {"rootDirectory": str(storage), "commit": True, "dedupe": True, "gc": False},
            "http": {"address": "127.0.0.1", "port": str(port)},
            "log": {"level": "info"},
        }
        config.write_text(json.dumps(document))
        return ServerProcess([program, "serve", str(config)], port=port, folder=folder)

    return start
