"""The cost of a collection: storage requests on SCS, time and memory on a folder with a million blobs.

    python -m tests.benchmarks.collection scs --images 10000
    python -m tests.benchmarks.collection folder --images 20000 --blobs 50 --folder /some/disk

Both make a store with this number of images, every tenth of them deleted, collect it with the code of the command, and
print the cost. The folder is removed afterwards; a million blobs take about 12 GB of small files during the run.
"""

import argparse
import asyncio
import hashlib
import json
import os
import resource
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from adapters.blob_storage.filesystem import FilesystemBlobStorage
from adapters.descriptor_cache.memory import DisabledDescriptorCache
from config.container import new_id, utc_now
from core.collection.collector import Collector
from core.collection.report import CollectionReport, Phase
from core.collection.run import CollectionOptions, CollectorContext
from core.coordination.budget import Budget, Rates
from core.model import media_types
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.ports.blob_storage import BlobStorage
from core.store import layout
from core.store.links import Links
from core.trash.store import Trash
from tests.support.scs_server import FakeScsServer
from tests.support.scs_server.store import Segment, StoredObject
from tests.support.scs_storage import scs_storage

_IMAGES_PER_REPOSITORY = 100
_GARBAGE_SHARE = 10


def main() -> None:
    """Measure as the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("storage", choices=["scs", "folder"])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--blobs", type=int, default=5, help="of each image, its manifest counted")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    arguments = parser.parse_args()
    if arguments.storage == "scs":
        asyncio.run(_measure_scs(arguments.images, arguments.blobs))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="collection-") as name:
        _measure_folder(Path(name), arguments.images, arguments.blobs)


def objects(images: int, blobs: int) -> Iterator[tuple[str, bytes]]:
    """Yield the store: each image with layers of its own, each tenth without revision and tag."""
    for number in range(images):
        name = RepositoryName(f"team/app{number // _IMAGES_PER_REPOSITORY:05}")
        digests = [_digest(f"{number} {each}") for each in range(blobs - 1)]
        manifest = _manifest(digests)
        own = Digest.of(manifest)
        yield layout.blob_data(own), manifest
        for digest in digests:
            yield layout.blob_data(digest), b""
            yield layout.layer_link(name, digest), digest.encode()
        if number % _GARBAGE_SHARE:
            tag = Tag(f"v{number}")
            yield layout.revision_link(name, own), own.encode()
            yield layout.tag_current_link(name, tag), own.encode()
            yield layout.tag_index_link(name, tag, own), own.encode()


def _digest(text: str) -> Digest:
    return Digest(f"sha256:{hashlib.sha256(text.encode()).hexdigest()}")


def _manifest(digests: list[Digest]) -> bytes:
    config, *layers = ({"mediaType": "application/x", "digest": digest, "size": 0} for digest in digests)
    return json.dumps(
        {"schemaVersion": 2, "mediaType": media_types.OCI_MANIFEST, "config": config, "layers": layers}
    ).encode()


async def _collect(storage: BlobStorage) -> CollectionReport:
    trash = Trash(storage, now=utc_now, new_id=new_id, keep=timedelta(days=7))
    began_at, entered = time.monotonic(), dict[Phase, float]()

    def note(report: CollectionReport) -> None:
        entered.setdefault(report.phase, time.monotonic() - began_at)

    processor = _processor_seconds()
    report = await Collector(
        storage,
        links=Links(storage),
        trash=trash,
        cache=DisabledDescriptorCache(),
        budget=Budget(Rates(), clock=time.monotonic, sleep=asyncio.sleep),
        options=CollectionOptions(grace=timedelta(0), is_offline=True),
        context=CollectorContext(
            clock=time.monotonic, sleep=asyncio.sleep, new_key=lambda: secrets.token_bytes(16), observe=note
        ),
    ).run()
    sys.stdout.write(f"processor: {_processor_seconds() - processor:.0f} s; phases began after ")
    sys.stdout.write(", ".join(f"{phase} {seconds:.0f} s" for phase, seconds in entered.items()) + "\n")
    return report


async def _measure_scs(images: int, blobs: int) -> None:
    async with FakeScsServer() as server, scs_storage(server) as storage:
        bucket = server.buckets["images"]
        for key, content in objects(images, blobs):
            etag = hashlib.md5(content, usedforsecurity=False).hexdigest()
            bucket.put(key.removeprefix("/"), StoredObject([Segment(content, len(content))], etag, "text/plain"))
        # Stores use whole seconds, and content of the same second as the start is not old.
        await asyncio.sleep(1.1)
        report = await _collect(storage)
        _tell(report, images)
        sys.stdout.write(f"{sum(server.counts.values()):,} requests: {dict(server.counts.most_common())}\n")


def _measure_folder(folder: Path, images: int, blobs: int) -> None:
    began_at = time.monotonic()
    for key, content in objects(images, blobs):
        path = f"{folder}{key}"
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120 - millions of times
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(content)
    sys.stdout.write(f"laid down in {time.monotonic() - began_at:.0f} s\n")
    sys.stdout.flush()
    before = _memory_mib()
    asyncio.run(_collect_folder(folder, images))
    sys.stdout.write(f"memory: {before:.0f} MiB before, {_memory_mib():.0f} MiB at most\n")
    sys.stdout.flush()
    shutil.rmtree(folder / "docker")


async def _collect_folder(folder: Path, images: int) -> None:
    async with FilesystemBlobStorage(root_directory=str(folder)) as storage:
        _tell(await _collect(storage), images)


def _tell(report: CollectionReport, images: int) -> None:
    sys.stdout.write(
        f"{images:,} images, {report.blobs:,} blobs: {report.seconds:.0f} s; {report.rounds} rounds removed "
        f"{report.blobs_removed:,} blobs and {report.layer_links_removed:,} layer links; {report.problem_count} "
        "problems\n"
    )
    sys.stdout.flush()


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _memory_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
