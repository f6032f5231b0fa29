"""Many pushes at once to an object store take a bounded amount of memory, and all succeed."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.benchmarks.usage import PeakMemory, memory_mib
from tests.benchmarks.wire import connected, expect, push_blob
from tests.support.object_stores import BUCKET, s3_environment
from tests.support.oci import digest_of
from tests.support.processes import RegistryServer
from tests.support.s3_servers import versitygw_endpoint
from tests.support.streams import payload

pytestmark = pytest.mark.e2e

PUSHES = 50
BLOB_BYTES = 12 * 1024 * 1024
BOUND_MIB = 40
"""The default of one process."""
PART_MIB = 10
MIB_PER_PUSH = 1
"""Of the connection, besides the bytes of the upload."""


def test_fifty_pushes_at_once_stay_within_the_bound(tool: Callable[[str], str], tmp_path: Path) -> None:
    shared = payload(BLOB_BYTES)
    blobs = [number.to_bytes(16) + shared[16:] for number in range(PUSHES)]
    folder = tmp_path / "s3"
    folder.mkdir()
    config = {"http": {"workers": 1}}
    with (
        versitygw_endpoint(tool("versitygw"), BUCKET, folder) as url,
        RegistryServer(
            tmp_path / "ours", tmp_path / "unused", config=config, environment=s3_environment(url, redirects=False)
        ) as server,
    ):

        def push(number: int) -> str:
            digest = digest_of(blobs[number])
            with connected(server.port) as connection:
                push_blob(connection, f"team/app{number}", digest, blobs[number])
                target = f"/v2/team/app{number}/blobs/{digest}"
                return expect(connection.request("HEAD", target), 200).headers["content-length"]

        before = memory_mib(server.pid)
        with PeakMemory(server.pid) as peak, ThreadPoolExecutor(PUSHES) as pool:
            sizes = list(pool.map(push, range(PUSHES)))
        assert sizes == [str(BLOB_BYTES)] * PUSHES
        # One upload alone holds 12 MiB, so all of them would hold 600 MiB.
        assert peak.mib - before < BOUND_MIB + PART_MIB + PUSHES * MIB_PER_PUSH
