"""Object stores as processes, and the settings that make a registry use them."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support.ports import free_port
from tests.support.processes import ServerProcess

BUCKET = "images"


class ScsEndpoint(ServerProcess):
    """Strict SCS endpoint as a process, which prints each request that it answers."""

    def __init__(self, folder: Path, *, fault_rate: float = 0.0, seed: int = 0) -> None:
        port = free_port()
        (folder / "objects").mkdir(parents=True, exist_ok=True)
        options = ["--port", port, "--bucket", BUCKET, "--access-key", "key", "--secret-key", "secret", "--log"]
        options += ["--folder", folder / "objects", "--fault-rate", fault_rate, "--seed", seed]
        command = [sys.executable, "-m", "tests.support.scs_server", *(str(option) for option in options)]
        super().__init__(command, port=port, folder=folder)

    @property
    def requests(self) -> list[str]:
        """Requests answered so far, as `PUT /images/…`."""
        return [line for line in self.log().splitlines() if f" /{BUCKET}" in line]

    def settings(self, *, redirects: bool = True, **changes: str) -> Mapping[str, str]:
        """Return the environment of a registry that uses the endpoint; `changes` sets more driver parameters."""
        return scs_environment(self.url, redirects=redirects, **changes)


def scs_environment(url: str, *, redirects: bool = True, **changes: str) -> Mapping[str, str]:
    """Return the environment of a registry that uses the SCS endpoint at `url`; `changes` sets more parameters."""
    scs = {"accesskey": "key", "secretkey": "secret", "region": "bjcnc", "bucket": BUCKET, "endpoint": url}
    return _storage({"scs": {**scs, **changes}}, redirects=redirects)


def s3_environment(url: str, *, redirects: bool = True) -> Mapping[str, str]:
    """Return the environment of a registry, ours or Debian's, that uses the S3 server at `url`."""
    s3 = {
        "accesskey": "key",
        "secretkey": "secret",
        "region": "us-east-1",
        "regionendpoint": url,
        "bucket": BUCKET,
        "secure": False,
        "forcepathstyle": True,
    }
    return _storage({"s3": s3}, redirects=redirects)


def _storage(driver: Mapping[str, object], *, redirects: bool = True) -> Mapping[str, str]:
    section = {
        **driver,
        "delete": {"enabled": True},
        "cache": {"blobdescriptor": "inmemory"},
        "redirect": {"disable": not redirects},
    }
    # The variable replaces the whole section of the file.
    return {"REGISTRY_STORAGE": json.dumps(section)}
