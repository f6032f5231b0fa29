"""Diagnosis of common problems with folders: full disks, no free inodes, file systems mounted read-only."""

import os
from collections.abc import Sequence
from typing import Final

from core.diagnosis import Diagnosis, Verdict

GIB: Final = 1024**3
_FREE_SHARE_MIN: Final = 0.05
_FREE_BYTES_MIN: Final = GIB
_FULL_SHARE: Final = 0.10
_FULL_BYTES: Final = 20 * GIB
_FILES_SHARE_MIN: Final = 0.05
_SPACE_REMEDY: Final = (
    "delete images, run `registry garbage-collect`, then `registry trash empty` (all of these work on a full disk), or "
    "enlarge the disk"
)


def diagnose_folder(root: str, private: str) -> Sequence[Diagnosis]:
    """Diagnose the file systems of the root folder and of temporary files. Blocks for a few system calls."""
    try:
        return [_space(root), _files(root), _one_file_system(root, private)]
    except OSError as error:
        return [
            Diagnosis(
                check="disk: folder",
                verdict=Verdict.FAILURE,
                detail=f"{root}: {error.strerror}",
                remedy="create the folder, owned by the registry's user",
            )
        ]


def _space(root: str) -> Diagnosis:
    check, state = "disk: space", os.statvfs(root)
    free, size = state.f_bavail * state.f_frsize, state.f_blocks * state.f_frsize
    share = free / size if size else 0.0
    detail = f"{free / GIB:.1f} of {size / GIB:.1f} GiB free" if free else "the disk is full: pushes are refused"
    if free < _FREE_BYTES_MIN or share < _FREE_SHARE_MIN:
        return Diagnosis(check=check, verdict=Verdict.FAILURE, detail=detail, remedy=_SPACE_REMEDY)
    if share < _FULL_SHARE and free < _FULL_BYTES:
        return Diagnosis(check=check, verdict=Verdict.WARNING, detail=detail, remedy=_SPACE_REMEDY)
    return Diagnosis(check=check, verdict=Verdict.OK, detail=detail)


def _files(root: str) -> Diagnosis:
    check, state = "disk: files", os.statvfs(root)
    # Some file systems allocate inodes dynamically and report a total of 0.
    if state.f_files and state.f_favail / state.f_files < _FILES_SHARE_MIN:
        detail = f"{state.f_favail} of {state.f_files} inodes free"
        return Diagnosis(check=check, verdict=Verdict.FAILURE, detail=detail, remedy=_SPACE_REMEDY)
    return Diagnosis(check=check, verdict=Verdict.OK)


def _one_file_system(root: str, private: str) -> Diagnosis:
    check = "disk: one file system"
    if not os.path.isdir(private) or os.stat(root).st_dev == os.stat(private).st_dev:
        return Diagnosis(check=check, verdict=Verdict.OK)
    return Diagnosis(
        check=check,
        verdict=Verdict.WARNING,
        detail=f"{private} and {root} are on different file systems: files cannot be moved atomically",
        remedy="mount one file system at the root folder, and none inside it",
    )
