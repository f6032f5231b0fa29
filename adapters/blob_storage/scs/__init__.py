"""Blob storage in Sohu Cloud Storage. The adapter is in `storage`, which loads an SDK; this package does not."""

from adapters.blob_storage.scs.endpoints import REGIONS
from adapters.blob_storage.scs.options import ScsOptions

__all__ = ["REGIONS", "ScsOptions"]
