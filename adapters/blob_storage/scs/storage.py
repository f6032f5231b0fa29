"""Blob storage in Sohu Cloud Storage: the S3 adapter with SCS's dialect."""

from adapters.blob_storage.s3.shared_use import SharedUse
from adapters.blob_storage.s3.storage import S3BlobStorage
from adapters.blob_storage.scs.dialect import SCS
from adapters.blob_storage.scs.options import ScsOptions


class ScsBlobStorage(S3BlobStorage):
    """Objects in one SCS bucket.

    Raises:
        ValueError: the region is unknown; the message lists the known ones.
    """

    name = "scs"

    def __init__(self, options: ScsOptions, *, shared: SharedUse | None = None) -> None:
        super().__init__(options.as_s3(), dialect=SCS, shared=shared)
