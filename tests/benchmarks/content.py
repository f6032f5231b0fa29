"""The content of every measured registry, pushed through its API."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.wire import connected, expect, push_blob
from tests.support.oci import Content, Image, make_image, make_tiny_image

REPOSITORIES = 2_000
TAGS = 2_000
MIB = 1024 * 1024
LARGE_BYTES = 256 * MIB
SMALL_BYTES = 1_024
_PUSHERS = 8

READ_REPOSITORY = "bench/read"
IMAGE = make_image(1, layer_sizes=(SMALL_BYTES,))
TINY_IMAGE = make_tiny_image()
SMALL_BLOB = Content("application/octet-stream", bytes(range(256)) * (SMALL_BYTES // 256))

PULLED_REPOSITORY = "bench/pulled"
PULLED_IMAGES = [make_image(10_000 + number, layer_sizes=(500, 600, 700)) for number in range(50)]


@dataclass(frozen=True)
class LargeBlob:
    """Bytes that no compression and no deduplication makes smaller."""

    data: bytes
    digest: str


def prepare(port: int, large: LargeBlob, *, tags: int = TAGS, repositories: int = REPOSITORIES) -> None:
    """Fill a registry: one repository with many tags, a small and a large blob, and many repositories."""
    _push_image(port, READ_REPOSITORY, "v1", IMAGE)
    with connected(port) as connection:
        push_blob(connection, READ_REPOSITORY, SMALL_BLOB.digest, SMALL_BLOB.data)
        push_blob(connection, READ_REPOSITORY, large.digest, large.data)
    more_tags = [f"v{number:04d}" for number in range(1, tags)]
    _in_parallel(lambda tag: _push_manifest(port, READ_REPOSITORY, tag, IMAGE), more_tags)
    names = [f"bench/catalog-{number:04d}" for number in range(repositories - 1)]
    _in_parallel(lambda name: _push_image(port, name, "v1", TINY_IMAGE), names)


def prepare_pulls(port: int) -> None:
    """Push the images of the measurements that pull whole images."""
    tagged = {f"v{number}": image for number, image in enumerate(PULLED_IMAGES)}
    _in_parallel(lambda tag: _push_image(port, PULLED_REPOSITORY, tag, tagged[tag]), tagged)


def forget(file: Path) -> None:
    """Drop a file from the kernel's page cache."""
    descriptor = os.open(file, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def _push_image(port: int, repository: str, tag: str, image: Image) -> None:
    with connected(port) as connection:
        for blob in image.blobs:
            push_blob(connection, repository, blob.digest, blob.data)
    _push_manifest(port, repository, tag, image)


def _push_manifest(port: int, repository: str, tag: str, image: Image) -> None:
    target = f"/v2/{repository}/manifests/{tag}"
    with connected(port) as connection:
        media_type = image.manifest.media_type
        expect(connection.request("PUT", target, image.manifest.data, content_type=media_type), 201)


def _in_parallel(push: Callable[[str], None], names: Iterable[str]) -> None:
    with ThreadPoolExecutor(_PUSHERS) as pool:
        for _ in pool.map(push, names):
            pass
