"""Files of a folder that a server changes at the same time."""

import os
from collections.abc import Iterator
from pathlib import Path


def sizes_of_files(folder: Path) -> Iterator[tuple[Path, int]]:
    """Yield the files below a folder with their sizes; files and folders that disappear meanwhile are left out.

    `Path.rglob` raises an error if a folder disappears between its listing and its reading.
    """
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            try:
                size = path.stat().st_size
            except FileNotFoundError:
                continue
            yield path, size
