"""Changes a store without end and prints the answers; `test_filesystem_crash` kills it, or cuts the power.

With the argument `strict`, it knows of no file system that keeps the order of changes.
"""

import asyncio
import hashlib
import itertools
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from adapters.blob_storage.filesystem import FilesystemBlobStorage

CONTENTS = [bytes([number]) * 50_000 for number in range(4)]
PATTERN = bytes(range(256)) * 4


def tell(*words: str) -> None:
    print(*words, flush=True)


async def tag_and_untag(storage: FilesystemBlobStorage, worker: int) -> None:
    for number in itertools.count():
        name = f"t{worker}-{number % 40}"
        tell("tagging", name)
        # In this order, as the core does: a tag is listed from its first file on.
        await storage.write(f"/tags/{name}/current/link", name.encode())
        await storage.write(f"/tags/{name}/index/sha256/{number}/link", b"index")
        tell("tagged", name)
        if number % 3:
            tell("untagging", name)
            await storage.delete_tree(f"/tags/{name}")
            tell("untagged", name)


async def record_and_remove(storage: FilesystemBlobStorage) -> None:
    for number in itertools.count():
        tree, link = f"/removed/r{number}", f"/removed-links/r{number}/link"
        await storage.write_all([(f"{tree}/current/link", b"tag"), (f"{tree}/index/link", b"index"), (link, b"link")])
        tell("removing", f"r{number}")
        await storage.write_then_remove([(f"/records/r{number}", b"record")], trees=[tree], keys=[link])
        tell("removed", f"r{number}")


async def replace(storage: FilesystemBlobStorage) -> None:
    for content in itertools.cycle(CONTENTS):
        await storage.write("/replaced", content)
        tell("replaced")


async def push(storage: FilesystemBlobStorage) -> None:
    chance = random.Random()
    while True:
        content = chance.randbytes(chance.randrange(1, 300_000))
        digest = hashlib.sha256(content).hexdigest()
        async with storage.open_writer(f"/uploads/{digest[:8]}/data") as upload:
            await upload.write(content[:1000])
            await upload.write(content[1000:])
            link = (f"/blob-links/{digest}/link", digest.encode())
            await upload.commit(f"/blobs/{digest[:2]}/{digest}/data", then=[link])
        tell("committed", digest)


async def upload_forever(storage: FilesystemBlobStorage) -> None:
    while True:
        async with storage.open_writer("/uploads/open/data") as upload:
            for _ in range(200):
                await upload.write(PATTERN * 8)


async def main(root: str, *, is_strict: bool) -> None:
    async with FilesystemBlobStorage(root) as storage, asyncio.TaskGroup() as tasks:
        if is_strict:
            storage._tree._ordered_device = None  # noqa: SLF001
        async with storage.open_writer("/uploads/open/data"):
            tell("ready")
        for worker in range(3):
            tasks.create_task(tag_and_untag(storage, worker))
        tasks.create_task(record_and_remove(storage))
        tasks.create_task(replace(storage))
        tasks.create_task(push(storage))
        tasks.create_task(upload_forever(storage))


asyncio.run(main(sys.argv[1], is_strict=sys.argv[2:] == ["strict"]))
