"""OCI image layouts, by the kind of a path."""

from pathlib import Path

from core.ports.image_layout import ImageLayout, ImageLayoutWriter


def read_image_layout(path: Path) -> ImageLayout:
    """Return the OCI image layout in a folder or in a tar archive."""
    from adapters.image_layout.archive import ArchiveImageLayout  # noqa: PLC0415 - for two commands only
    from adapters.image_layout.folder import FolderImageLayout  # noqa: PLC0415

    return FolderImageLayout(path) if path.is_dir() else ArchiveImageLayout(path)


def write_image_layout(path: Path) -> ImageLayoutWriter:
    """Return a layout to write: an archive if the name ends in `.tar`, else a folder, which may contain a layout."""
    from adapters.image_layout.archive import ArchiveImageLayoutWriter  # noqa: PLC0415 - as above
    from adapters.image_layout.folder import FolderImageLayout  # noqa: PLC0415

    return ArchiveImageLayoutWriter(path) if path.suffix == ".tar" else FolderImageLayout(path, creates=True)
