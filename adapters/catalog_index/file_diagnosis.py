"""Diagnosis of common problems with a catalog in one file: a folder in its place, missing permissions, a mount."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from core.diagnosis import Diagnosis, Verdict

_MOUNTS: Final = Path("/proc/self/mountinfo")
_MOUNT_POINT_FIELD: Final = 4


def diagnose_file(path: Path, *, mounts: Path = _MOUNTS) -> Sequence[Diagnosis]:
    """Diagnose the file, without changing it, and its mount. Blocks for a few system calls."""
    check = "catalog file: read and write"
    if path.is_dir():
        return [
            Diagnosis(
                check=check,
                verdict=Verdict.FAILURE,
                detail=f"{path} is a folder; Docker creates one if the file to mount is missing on the host",
                remedy="remove the folder on the host, create an empty file with touch, and restart the container",
            )
        ]
    if not path.exists() and os.access(path.parent, os.W_OK | os.X_OK):
        return [
            Diagnosis(
                check=check,
                verdict=Verdict.WARNING,
                detail=f"{path} is missing; the registry creates it when it fills the catalog",
                remedy="mount the file there if there is one",
            )
        ]
    if not os.access(path, os.R_OK | os.W_OK):
        return [
            Diagnosis(
                check=check,
                verdict=Verdict.FAILURE,
                detail=f"{path} is missing, or user {os.geteuid()} may not read and write it",
                remedy=f"change its owner to user {os.geteuid()}, on a writable file system",
            )
        ]
    return [Diagnosis(check=check, verdict=Verdict.OK, detail=str(path)), _mount(path, mounts)]


def _mount(path: Path, mounts: Path) -> Diagnosis:
    check = "catalog file: mount"
    if not _is_mounted_alone(path, mounts):
        return Diagnosis(check=check, verdict=Verdict.OK)
    return Diagnosis(
        check=check,
        verdict=Verdict.OK,
        detail="mounted as a single file: edit it in place, not by a rename (sed -i, most editors)",
    )


def _is_mounted_alone(path: Path, mounts: Path) -> bool:
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        # Not Linux: then no file is a mount point either.
        return False
    return str(path.resolve()) in {line.split(" ")[_MOUNT_POINT_FIELD] for line in lines if line.count(" ") > 4}  # noqa: PLR2004 - enough for that field
