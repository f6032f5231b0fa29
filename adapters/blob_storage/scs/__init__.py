"""Blob storage in Sohu Cloud Storage."""

from adapters.blob_storage.scs.endpoints import REGIONS
from adapters.blob_storage.scs.storage import ScsBlobStorage, ScsOptions

__all__ = ["REGIONS", "ScsBlobStorage", "ScsOptions"]
