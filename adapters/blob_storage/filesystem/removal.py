"""Removal of files and folders, while other processes may still write into them. All functions block."""

import errno
import os
from typing import Final

TAKEN: Final = frozenset({errno.ENOTEMPTY, errno.EEXIST})
"""The errors of an operation on a folder that is not empty."""


def remove(path: str, *, is_folder: bool = False) -> None:
    """Remove the file or the whole folder at `path`, names in descending order; links are not followed.

    `is_folder` is a guess; a right one saves a call.
    """
    try:
        if is_folder:
            _remove_folder(path)
        else:
            os.unlink(path)
    except FileNotFoundError:
        return
    except IsADirectoryError:
        remove(path, is_folder=True)
    except NotADirectoryError:
        # Otherwise a file has the name of a folder above.
        if is_folder:
            remove(path)


def _remove_folder(path: str) -> None:
    is_there = True
    while is_there:
        with os.scandir(path) as entries:
            found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
        for name, is_folder in reversed(found):
            remove(f"{path}/{name}", is_folder=is_folder)
        # A writer that found the folder before it was hidden may still create an entry in it: then try again.
        is_there = not remove_if_empty(path)


def prune_below(path: str) -> bool:
    """Remove the empty folders in the folder at `path`, then the folder if it is empty; return whether it is gone."""
    try:
        with os.scandir(path) as entries:
            folders = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except NotADirectoryError:
        return False
    except FileNotFoundError:
        return True
    for folder in folders:
        prune_below(folder)
    return remove_if_empty(path)


def remove_if_empty(path: str) -> bool:
    """Remove the folder at `path` if it is empty; return whether it is gone."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in {*TAKEN, errno.ENOTDIR}:
            raise
        return False
    return True
