"""Takes a lease on a folder and keeps it; `test_lease_processes` kills it, or stops it and lets it go on."""

import asyncio
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from adapters.blob_storage.filesystem import FilesystemBlobStorage
from core.coordination.lease import Lease
from core.store import layout


async def main(root: str, owner_id: str, ttl: float) -> None:
    async with FilesystemBlobStorage(root) as storage:
        lease = Lease(
            storage, layout.lease("job"), owner_id=lambda: owner_id, ttl=ttl, clock=time.monotonic, sleep=asyncio.sleep
        )
        while True:
            if await lease.acquire(3600):
                keeper = asyncio.create_task(lease.keep())
                while lease.is_held:
                    print("held", time.monotonic(), flush=True)
                    await asyncio.sleep(ttl / 50)
                print("lost", time.monotonic(), flush=True)
                await keeper


asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
