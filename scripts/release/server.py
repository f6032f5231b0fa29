"""A registry of this commit, on a free port and a folder of its own, for the time of a release."""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from scripts.release.errors import ReleaseError
from scripts.release.programs import ROOT

START_SECONDS = 60
STOP_SECONDS = 60


@contextmanager
def registry(folder: Path, settings: Mapping[str, Any] | None = None) -> Iterator[str]:
    """Run a registry whose content lies in a folder, and return its host and port.

    Raises:
        ReleaseError: the registry did not start.
    """
    folder.mkdir(parents=True)
    host = f"127.0.0.1:{_free_port()}"
    configuration = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}, "delete": {"enabled": True}},
        "http": {"addr": host, "secret": secrets.token_hex(32), "workers": 1},
        **(settings or {}),
    }
    # JSON is valid YAML.
    (folder / "config.yml").write_text(json.dumps(configuration))
    # Variables would change the configuration.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("REGISTRY_", "SEARCH_"))}
    command = [sys.executable, "-m", "entrypoints.cli", "serve", "-c", str(folder / "config.yml")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        _wait_until_ready(process, host, folder / "log")
        yield host
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(process: subprocess.Popen[bytes], host: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urlopen(f"http://{host}/v2/", timeout=5):
                return
        except (URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise ReleaseError(f"the registry at {host} did not start:\n{log.read_text(errors='replace')[-2000:]}")
