"""Tar archives that depend on their content only: files in order, without users, with one time."""

import gzip
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path


def pack(files: Mapping[str, Path], target: Path, *, seconds: int) -> None:
    """Write a tar archive of files under the given names; a name that ends in .gz or .tgz is compressed."""
    compressed = target.suffix in {".gz", ".tgz"}
    with target.open("wb") as raw:
        # A gzip header has a time and a name, which this constructor leaves out.
        output = gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) if compressed else raw
        with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for name, path in sorted(files.items()):
                entry = tarfile.TarInfo(name)
                entry.size, entry.mtime, entry.mode = path.stat().st_size, seconds, 0o644
                with path.open("rb") as content:
                    archive.addfile(entry, content)
        if compressed:
            output.close()


def pack_folder(folder: Path, target: Path, *, seconds: int) -> None:
    """Write a tar archive of all files below a folder."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    pack(files, target, seconds=seconds)


def repack(source: Path, target: Path, *, seconds: int) -> None:
    """Write a .tgz again in the order of the source, with one time in place of that of its making."""
    with (
        target.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as output,
        tarfile.open(source) as old,
        tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for entry in old:
            entry.mtime = seconds
            entry.pax_headers = {}
            content = old.extractfile(entry)
            new.addfile(entry, io.BytesIO(content.read()) if content else None)
