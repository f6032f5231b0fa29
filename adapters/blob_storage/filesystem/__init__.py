"""Blob storage in a folder with distribution's layout, which other processes may use at the same time."""

from adapters.blob_storage.filesystem.storage import FilesystemBlobStorage

__all__ = ["FilesystemBlobStorage"]
