"""Small file systems for tests: full, read-only or mounted over a folder. Only root can mount them."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn


@contextmanager
def mounted(unavailable: Callable[[str], NoReturn], target: Path, *options: str) -> Iterator[None]:
    """Mount a file system at `target`, or end the test if mounting is not allowed."""
    done = subprocess.run(["mount", *options, str(target)], capture_output=True, text=True, timeout=10, check=False)
    if done.returncode:
        unavailable(f"nothing can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(target)], timeout=10, check=True)


@contextmanager
def small_disk(unavailable: Callable[[str], NoReturn], target: Path, size: str) -> Iterator[None]:
    """Mount a disk of this size at `target`."""
    target.mkdir(exist_ok=True)
    with mounted(unavailable, target, "-t", "tmpfs", "-o", f"size={size}", "tmpfs"):
        yield


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
