"""Options of a store in Sohu Cloud Storage."""

from dataclasses import dataclass, field
from typing import Any

from adapters.addresses import endpoint_problem
from adapters.blob_storage.s3.options import (
    MIB,
    RetryOptions,
    S3Options,
    bucket_problem,
    connections_setting,
    part_bytes_setting,
    parts_in_flight_setting,
    upload_memory_setting,
)
from adapters.blob_storage.scs.endpoints import REGIONS, endpoint_host
from core.model.secret import Secret
from core.model.setting import MISSING_VALUE, SettingInvalidError, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class ScsOptions:
    """`storage.scs`: one SCS bucket; the first four are required. Its keys are those of the fork: no root directory."""

    access_key: str = setting("accesskey", "The access key.", "")
    secret_key: Secret = setting("secretkey", "The secret key.", Secret(""))
    region: str = setting("region", f"The region: {', '.join(REGIONS)}.", "")
    bucket: str = setting("bucket", "The bucket; its name is converted to lower case.", "", check=bucket_problem)
    endpoint: str | None = setting(
        "endpoint", "Host or URL of the store, instead of the region's endpoint.", None, check=endpoint_problem
    )
    secure: bool = setting("secure", "Whether to use HTTPS.", default=False)
    chunk_bytes: int = part_bytes_setting(10 * MIB)
    parts_in_flight: int = parts_in_flight_setting()
    upload_memory_bytes: int = upload_memory_setting()
    connections_max: int = connections_setting()
    user_agent: str | None = None
    authorities: str | None = None
    """See `S3Options`."""
    retry: RetryOptions = field(default_factory=RetryOptions)

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Reject a section that lacks a required key, naming all missing ones."""
        keys = {"access_key": "accesskey", "secret_key": "secretkey", "region": "region", "bucket": "bucket"}
        problems = {key: [MISSING_VALUE] for name, key in keys.items() if name not in values}
        region = values.get("region")
        if region and region not in REGIONS and "endpoint" not in values:
            problems["region"] = [f"must be one of {', '.join(REGIONS)}, unless an endpoint is given"]
        if problems:
            raise SettingInvalidError(problems)
        return values

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
            upload_memory_bytes=self.upload_memory_bytes,
            connections_max=self.connections_max,
            user_agent=self.user_agent,
            authorities=self.authorities,
            retry=self.retry,
        )
