"""Options of a bucket in Google Cloud Storage, reached by its S3-compatible XML API."""

from dataclasses import dataclass
from typing import Any, ClassVar, Final

from adapters.addresses import endpoint_problem
from adapters.blob_storage.s3.options import MIB, S3Options, bucket_problem, raised_part_bytes_setting
from adapters.blob_storage.s3.presets.tuning import Tuning
from core.model.secret import Secret
from core.model.setting import MISSING_VALUE, SettingInvalidError, Unused, setting

_ENDPOINT: Final = "https://storage.googleapis.com"
_REGION: Final = "auto"
"""Google accepts any region in a signature."""
_REMEDY: Final = (
    "create an HMAC key for the service account (`gcloud storage hmac create ACCOUNT`) and set `accesskey` and "
    "`secretkey`"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GcsOptions(Tuning):
    """`storage.gcs`: one bucket of Google Cloud Storage, with an HMAC key in place of distribution's key file."""

    bucket: str = setting("bucket", "The bucket.", "", check=bucket_problem)
    access_key: str = setting("accesskey", "The access id of an HMAC key of a service account.", "")
    secret_key: Secret | None = setting("secretkey", "The secret of the HMAC key.", None)
    root_directory: str = setting("rootdirectory", "Key prefix in the bucket.", "")
    chunk_bytes: int = raised_part_bytes_setting(16 * MIB)
    connections_max: int = setting(
        "maxconcurrency",
        "Maximum number of connections to the store; less than 25 means 25.",
        50,
        at_least=25,
        at_most=10_000,
        fallback=25,
    )
    endpoint: str = setting("endpoint", "Endpoint URL, if not Google's public one.", _ENDPOINT, check=endpoint_problem)
    keyfile: ClassVar = Unused("keyfile", "JSON file of a service account.")
    credentials: ClassVar = Unused("credentials", "JSON key of a service account.")

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Reject a section without a bucket or an HMAC key."""
        problems = {} if values.get("bucket") else {"bucket": [MISSING_VALUE]}
        for name, key in (("access_key", "accesskey"), ("secret_key", "secretkey")):
            if not values.get(name):
                problems[key] = [f"{MISSING_VALUE}; `keyfile` and `credentials` cannot replace it: {_REMEDY}"]
        if problems:
            raise SettingInvalidError(problems)
        return values

    def as_s3(self) -> S3Options:
        """Return these options in the form of the S3 adapter."""
        return S3Options(
            bucket=self.bucket,
            access_key=self.access_key,
            secret_key=self.secret_key,
            region=_REGION,
            region_endpoint=self.endpoint,
            root_directory=self.root_directory.strip("/"),
            force_path_style=True,
            storage_class=None,
            chunk_bytes=self.chunk_bytes,
            parts_in_flight=self.parts_in_flight,
            upload_memory_bytes=self.upload_memory_bytes,
            connections_max=self.connections_max,
            retry=self.retry,
        )
