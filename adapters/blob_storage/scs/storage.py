"""Blob storage in Sohu Cloud Storage: the S3 adapter with SCS's dialect."""

from dataclasses import dataclass, field

from adapters.blob_storage.s3.options import MIB, RetryOptions, S3Options
from adapters.blob_storage.s3.storage import S3BlobStorage
from adapters.blob_storage.scs.dialect import SCS
from adapters.blob_storage.scs.endpoints import endpoint_host
from adapters.blob_storage.scs.signer import register_signers


@dataclass(frozen=True, slots=True, kw_only=True)
class ScsOptions:
    """Options of one SCS bucket. Its keys are those of the fork: there is no root directory."""

    access_key: str
    secret_key: str = field(repr=False)
    region: str
    """One of `endpoints.REGIONS`; any name if `endpoint` is given."""
    bucket: str
    endpoint: str | None = None
    """URL or `host[:port]` to use instead of the region's own host."""
    secure: bool = False
    chunk_bytes: int = 10 * MIB
    parts_in_flight: int = 3
    connections_max: int = 256
    user_agent: str | None = None
    retry: RetryOptions = field(default_factory=RetryOptions)

    def as_s3(self) -> S3Options:
        """Return these options in the form of the S3 adapter.

        Raises:
            ValueError: the region is unknown, or another value is invalid.
        """
        return S3Options(
            bucket=self.bucket.lower(),
            access_key=self.access_key,
            secret_key=self.secret_key,
            region=self.region,
            region_endpoint=self.endpoint or endpoint_host(self.region),
            secure=self.secure,
            force_path_style=True,
            storage_class=None,
            chunk_bytes=self.chunk_bytes,
            parts_in_flight=self.parts_in_flight,
            connections_max=self.connections_max,
            user_agent=self.user_agent,
            retry=self.retry,
        )


class ScsBlobStorage(S3BlobStorage):
    """Objects in one SCS bucket.

    Raises:
        ValueError: the region is unknown; the message lists the known ones.
    """

    name = "scs"

    def __init__(self, options: ScsOptions) -> None:
        register_signers()
        super().__init__(options.as_s3(), dialect=SCS)
