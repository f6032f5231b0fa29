"""Small file systems for tests: full, read-only or mounted over a folder. Only root can mount them."""

import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final, NoReturn

_IMAGE_BYTES: Final = 128 * 1024 * 1024
_DETACH_SECONDS: Final = 60.0
_EXT4_IOC_SHUTDOWN: Final = 0x8004587D
_WITHOUT_JOURNAL_FLUSH: Final = 2


@contextmanager
def mounted(unavailable: Callable[[str], NoReturn], target: Path, *options: str) -> Iterator[None]:
    """Mount a file system at `target`, or end the test if mounting is not allowed."""
    done = subprocess.run(["mount", *options, str(target)], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        unavailable(f"nothing can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(target)], timeout=60, check=True)


@contextmanager
def small_disk(unavailable: Callable[[str], NoReturn], target: Path, size: str) -> Iterator[None]:
    """Mount a disk of this size at `target`."""
    target.mkdir(exist_ok=True)
    with mounted(unavailable, target, "-t", "tmpfs", "-o", f"size={size}", "tmpfs"):
        yield


@cache
def _has_loop_devices() -> bool:
    """Whether a file can be mounted: a container may have no loop devices, although it may mount memory."""
    with tempfile.NamedTemporaryFile() as file:
        file.truncate(_IMAGE_BYTES)
        try:
            with _loop_device(Path(file.name)):
                return True
        except subprocess.CalledProcessError:
            return False


@contextmanager
def _loop_device(image: Path) -> Iterator[str]:
    """Yield the device of a file, and wait in the end until it has gone.

    `mount -o loop` uses a device of the same file that is about to go, whose reads then fail.

    Raises:
        CalledProcessError: there is no device.
    """
    device = _run("losetup", "--find", "--show", str(image))
    try:
        yield device
    finally:
        _run("losetup", "--detach", device)
        ends = time.monotonic() + _DETACH_SECONDS
        while _run("losetup", "--associated", str(image)):
            if time.monotonic() > ends:
                raise TimeoutError(f"{device} did not go")
            time.sleep(0.01)


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


@contextmanager
def ext4_disk(
    unavailable: Callable[[str], NoReturn], image: Path, target: Path, *, has_journal: bool = True
) -> Iterator[bool]:
    """Mount the ext4 file system in `image`, created if missing, at `target`, and yield whether it is mounted.

    On a machine without loop devices, which no program can add, `target` is a folder of the machine's file system.
    """
    target.mkdir(exist_ok=True)
    if not _has_loop_devices():
        yield False
        return
    if not image.exists():
        if shutil.which("mkfs.ext4") is None:
            unavailable("mkfs.ext4 is missing: apt install e2fsprogs")
        with image.open("wb") as file:
            file.truncate(_IMAGE_BYTES)
        features = [] if has_journal else ["-O", "^has_journal"]
        subprocess.run(["mkfs.ext4", "-q", *features, str(image)], timeout=60, check=True)
    with _loop_device(image) as device, mounted(unavailable, target, device):
        yield True


def cut_power(target: Path) -> None:
    """Let the ext4 file system at `target` lose all that its journal does not hold; afterwards, each call fails."""
    descriptor = os.open(target, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, _EXT4_IOC_SHUTDOWN, struct.pack("I", _WITHOUT_JOURNAL_FLUSH))
    finally:
        os.close(descriptor)


def fill(path: Path) -> None:
    """Write to the file until its disk is full."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        for size in (1024 * 1024, 4096, 1):
            try:
                while True:
                    os.write(descriptor, bytes(size))
            except OSError:
                continue
    finally:
        os.close(descriptor)
