"""Serves a cached blob to clients in one process; `test_spool_processes` runs several on one folder, and kills some.

The upstream sends as many pieces as the file `allowed` permits. Each line of the output is an event and a number.
"""

import asyncio
import hashlib
import sys
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from adapters.blob_storage.filesystem import FilesystemBlobStorage
from adapters.spool.folder import FolderSpool
from core.model.digest import Digest
from core.model.names import RepositoryName
from tests.support.core_services import CoreServices, in_a_thread
from tests.support.pull_through import CachingProcess, Machine
from tests.support.streams import payload

NAME = RepositoryName("docker.io/library/alpine")
CONTENT = payload(2_000_000)
DIGEST = Digest.of(CONTENT)


def report(event: str, number: object) -> None:
    print(event, number, flush=True)


async def pull(process: CachingProcess) -> None:
    received = hashlib.sha256()
    count = 0
    async with process.blobs.open(NAME, DIGEST) as reader:
        async for piece in reader:
            received.update(piece)
            count += len(piece)
            report("received", count)
    report("done", received.hexdigest())


async def main(root: Path, clients: int) -> None:
    passed = 0

    async def gate() -> None:
        nonlocal passed
        while passed >= int((root / "allowed").read_text()):  # noqa: ASYNC110 - another process writes the file
            await asyncio.sleep(0.005)
        passed += 1

    async with FilesystemBlobStorage(str(root / "store")) as storage:
        services = CoreServices(storage=storage, offload=in_a_thread, new_id=lambda: str(uuid.uuid4()))
        machine = Machine(services=services, sleep=asyncio.sleep)
        machine.hub.add_blob("library/alpine", CONTENT)
        machine.hub.gate = gate
        async with machine.process(FolderSpool(str(root / "spool"), offload=in_a_thread)) as process:
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(clients):
                        group.create_task(pull(process))
                while process.fetcher.in_flight:  # noqa: ASYNC110 - the fetcher reports no end
                    await asyncio.sleep(0.01)
            finally:
                report("asked", machine.hub.asked["open_blob"])
                report("bytes", machine.received["docker.io"])


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
