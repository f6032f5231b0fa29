"""A process killed at any moment, without power, or out of space leaves a folder that keeps the port's promises."""

import asyncio
import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import pytest

from adapters.blob_storage.filesystem import FilesystemBlobStorage
from adapters.blob_storage.filesystem.folder_syncs import ordered_device
from core.store.objects import find
from tests.support.mounts import cut_power, ext4_disk
from tests.support.streams import collect, read_stream

ROUNDS = 14
POWER_CUTS = 8
CONTENTS = [bytes([number]) * 50_000 for number in range(4)]
PATTERN = bytes(range(256)) * 4

CHILD = Path(__file__).parent / "filesystem_crash_child.py"


def rounds_of_killing(root: Path) -> Iterator[list[str]]:
    """Let a child change the store, kill it at a random moment, and yield its answers; many times."""
    chance = random.Random(4)
    for _ in range(ROUNDS):
        command = [sys.executable, str(CHILD), str(root)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            lines = [child.stdout.readline()]
            try:
                child.wait(chance.uniform(0.02, 0.2))
            except subprocess.TimeoutExpired:
                child.kill()
            lines += child.stdout.readlines()
        assert lines[0] == "ready\n"
        assert child.returncode == -9
        yield [line.strip() for line in lines[1:] if line.endswith("\n")]


async def require_whole(storage: FilesystemBlobStorage, answered: list[str]) -> None:
    """Every listed name is readable, every content whole, and every answered change there."""
    listed = await collect(storage.list_children("/tags"))
    for name in listed:
        assert await storage.read(f"/tags/{name}/current/link") == name.encode()
    assert await storage.read("/replaced") in CONTENTS
    async for key, _ in storage.walk("/blobs"):
        assert hashlib.sha256(await read_stream(storage, key)).hexdigest() == key.split("/")[3]
    linked = await linked_blobs(storage)
    for line in answered:
        operation, _, name = line.partition(" ")
        if operation == "tagged" and f"untagging {name}" not in answered:
            assert name in listed
        if operation == "untagged" and f"tagging {name}" not in answered:
            assert name not in listed
        if operation == "committed":
            assert name in linked
        if operation == "removing":
            await require_recorded(storage, name, is_answered=f"removed {name}" in answered)


async def linked_blobs(storage: FilesystemBlobStorage) -> list[str]:
    """Return the digests that have a link, after a check that each has its data."""
    linked = await collect(storage.list_children("/blob-links"))
    for digest in linked:
        assert await storage.read(f"/blob-links/{digest}/link") == digest.encode()
        assert (await storage.stat(f"/blobs/{digest[:2]}/{digest}/data")).size > 0
    return linked


async def require_recorded(storage: FilesystemBlobStorage, name: str, *, is_answered: bool) -> None:
    """The record comes before the removal of the tree, and that before the removal of the link."""
    keys = (f"/records/{name}", f"/removed/{name}/current/link", f"/removed-links/{name}/link")
    has_record, has_tree, has_link = [await find(storage, key) is not None for key in keys]
    assert [has_record, not has_tree, not has_link] == sorted([has_record, not has_tree, not has_link], reverse=True)
    assert not is_answered or not has_link


async def require_resumable(storage: FilesystemBlobStorage, root: Path) -> None:
    """The staged bytes begin as they were sent, and an upload goes on from there."""
    async with storage.open_writer("/uploads/open/data", resume=True) as upload:
        assert upload.size == (root / "uploads/open/data").stat().st_size
        kept = b"".join(await collect(upload.content()))
        assert kept == (PATTERN * (len(kept) // len(PATTERN) + 1))[: len(kept)]


async def test_killed_process_leaves_a_sound_store(tmp_path):
    async with FilesystemBlobStorage(str(tmp_path)) as storage:
        await storage.write("/replaced", CONTENTS[0])
    answered_before: list[str] = []
    for answered in rounds_of_killing(tmp_path):
        async with FilesystemBlobStorage(str(tmp_path)) as storage:
            await require_whole(storage, answered)
            await require_resumable(storage, tmp_path)
        answered_before += answered
    # The rounds did something, of every kind.
    assert {line.split()[0] for line in answered_before} >= {"tagged", "untagged", "committed", "replaced", "removed"}
    private = tmp_path / ".tmp"
    for path in private.iterdir():
        os.utime(path, (0, 0))
    async with FilesystemBlobStorage(str(tmp_path)):
        assert list(private.iterdir()) == []


def rounds_of_power_cuts(unavailable: Callable[[str], NoReturn], folder: Path, *words: str) -> Iterator[list[str]]:
    """Let a child change a store on a disk, cut the power at a random moment, and yield its answers; many times.

    Where no disk can be mounted, the child is killed instead.
    """
    chance = random.Random(5)
    image, disk = folder / "image", folder / "disk"
    for _ in range(POWER_CUTS):
        with ext4_disk(unavailable, image, disk) as is_mounted:
            command = [sys.executable, str(CHILD), str(disk), *words]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
                assert child.stdout is not None
                lines = [child.stdout.readline()]
                with suppress(subprocess.TimeoutExpired):
                    child.wait(chance.uniform(0.1, 0.6))
                if is_mounted:
                    cut_power(disk)
                child.kill()
                lines += child.stdout.readlines()
            assert lines[0] == "ready\n"
        with ext4_disk(unavailable, image, disk):
            yield [line.strip() for line in lines[1:] if line.endswith("\n")]


@pytest.mark.parametrize("words", [(), ("strict",)], ids=["ordered", "strict"])
async def test_power_cut_leaves_a_sound_store(tmp_path, unavailable, words):
    disk = tmp_path / "disk"
    with ext4_disk(unavailable, tmp_path / "image", disk) as is_mounted:
        assert not is_mounted or ordered_device(str(disk)) == disk.stat().st_dev
        async with FilesystemBlobStorage(str(disk)) as storage:
            await storage.write("/replaced", CONTENTS[0])
    answered_before: list[str] = []
    for answered in rounds_of_power_cuts(unavailable, tmp_path, *words):
        async with FilesystemBlobStorage(str(disk)) as storage:
            await require_whole(storage, answered)
        answered_before += answered
    assert {line.split()[0] for line in answered_before} >= {"tagged", "untagged", "committed", "replaced", "removed"}


FULL = """
import asyncio, resource, sys
from adapters.blob_storage.filesystem import FilesystemBlobStorage
from core.errors import StorageUnavailableError

async def main():
    async with FilesystemBlobStorage(sys.argv[1]) as storage:
        await storage.write("/a/kept", b"old")
        # No file may grow beyond this: writing stops in the middle, as on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
        for key in ("/a/kept", "/a/new", "/b/c/new"):
            try:
                await storage.write(key, bytes(1_500_000))
            except StorageUnavailableError as error:
                print(error)
        async with storage.open_writer("/u/data") as writer:
            await writer.write(bytes(600_000))
            try:
                await writer.write(bytes(600_000))
            except StorageUnavailableError as error:
                print(error, writer.size)
            await writer.write(b"fits")

asyncio.run(main())
"""


async def test_full_store_refuses_uploads_and_keeps_content(tmp_path):
    command = [sys.executable, "-c", FULL, str(tmp_path)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=30, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "File too large at /a/kept",
        "File too large at /a/new",
        "File too large at /b/c/new",
        "File too large at /u/data 600000",
    ]
    async with FilesystemBlobStorage(str(tmp_path)) as storage:
        assert {key: stat.size async for key, stat in storage.walk("/")} == {"/a/kept": 3, "/u/data": 600_004}
        assert await storage.staged_size("/u/data") == 600_004
    assert list((tmp_path / ".tmp").iterdir()) == []
