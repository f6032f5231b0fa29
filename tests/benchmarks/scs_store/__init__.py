"""SCS endpoint in Go with its content in memory: as strict as that of the tests, and fast enough to measure a registry.

The endpoint of the tests needs six times the processor time for a small request, in one thread.
"""

import http.client
import os
import subprocess
from contextlib import closing
from pathlib import Path

from adapters.blob_storage.s3.requests import Credentials
from adapters.blob_storage.scs.signer import ScsSigner
from tests.support.object_stores import BUCKET
from tests.support.ports import free_port
from tests.support.processes import ServerProcess
from tests.support.tools import REPOSITORY_ROOT, find_go

_SOURCES = sorted(Path(__file__).parent.glob("*.go"))
_PROGRAM = REPOSITORY_ROOT / ".cache" / "bin" / "scs-store"


def build_scs_store() -> Path:
    """Build the program if its source has changed, and return its path.

    Raises:
        ToolMissingError: Go is not installed.
    """
    if not _PROGRAM.exists() or _PROGRAM.stat().st_mtime < max(source.stat().st_mtime for source in _SOURCES):
        _PROGRAM.parent.mkdir(parents=True, exist_ok=True)
        # Another process may run the old program, or build it too.
        fresh = _PROGRAM.with_name(f"{_PROGRAM.name}.{os.getpid()}")
        command = [find_go(), "build", "-o", str(fresh), *map(str, _SOURCES)]
        subprocess.run(command, check=True, env={**os.environ, "CGO_ENABLED": "0"})
        fresh.replace(_PROGRAM)
    return _PROGRAM


class ScsStore(ServerProcess):
    """The endpoint, with one empty bucket.

    Args:
        folder: folder for its log.
        access_key: the only access key.
        secret_key: its secret.
        now: a time (RFC 3339) at which its clock stands still, to replay recorded requests.
    """

    def __init__(self, folder: Path, *, access_key: str = "key", secret_key: str = "secret", now: str = "") -> None:  # noqa: S107 - the keys of all tests
        port = free_port()
        command = [str(build_scs_store()), "-address", f"127.0.0.1:{port}", "-bucket", BUCKET]
        command += ["-access-key", access_key, "-secret-key", secret_key, "-now", now]
        super().__init__(command, port=port, folder=folder)
        self._credentials = Credentials(access_key, secret_key)

    def drop_blob(self, digest: str) -> None:
        """Delete the content of a blob."""
        encoded = digest.partition(":")[2]
        path = f"/{BUCKET}/docker/registry/v2/blobs/sha256/{encoded[:2]}/{encoded}/data"
        headers: dict[str, str] = {}
        ScsSigner("").sign("DELETE", self.url + path, headers, self._credentials)
        with closing(http.client.HTTPConnection(self.host)) as connection:
            connection.request("DELETE", path, headers=headers)
            status = connection.getresponse().status
        if status != http.HTTPStatus.NO_CONTENT:
            raise RuntimeError(f"the store answered {status} to a deletion")
