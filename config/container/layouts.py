"""OCI image layouts, by what a path is."""

from pathlib import Path

from adapters.image_layout.archive import ArchiveImageLayout, ArchiveImageLayoutWriter
from adapters.image_layout.folder import FolderImageLayout
from core.ports.image_layout import ImageLayout, ImageLayoutWriter


def read_image_layout(path: Path) -> ImageLayout:
    """Return the OCI image layout that lies in a folder or in a tar archive."""
    return FolderImageLayout(path) if path.is_dir() else ArchiveImageLayout(path)


def write_image_layout(path: Path) -> ImageLayoutWriter:
    """Return a layout to write: an archive if it is to be called `.tar`, else a folder, which may hold one already."""
    return ArchiveImageLayoutWriter(path) if path.suffix == ".tar" else FolderImageLayout(path, creates=True)
