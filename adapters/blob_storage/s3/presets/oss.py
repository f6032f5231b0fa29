"""Options of a bucket in Aliyun OSS, reached by its S3-compatible endpoint."""

import re
from dataclasses import dataclass
from typing import Any, Final

from adapters.addresses import endpoint_problem
from adapters.blob_storage.s3.options import MIB, S3Options, bucket_problem, connections_setting, part_bytes_setting
from adapters.blob_storage.s3.presets.tuning import Tuning
from core.model.secret import Secret
from core.model.setting import MISSING_VALUE, SettingInvalidError, setting

_PREFIX: Final = "oss-"
_REGION: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)+")


def _region_problem(text: str) -> str | None:
    return None if _REGION.fullmatch(text) else "must be a region of OSS such as oss-cn-hangzhou"


@dataclass(frozen=True, slots=True, kw_only=True)
class OssOptions(Tuning):
    """`storage.oss`: one bucket of Aliyun OSS; the first four are required."""

    access_key: str = setting("accesskeyid", "The AccessKey ID.", "")
    secret_key: Secret | None = setting("accesskeysecret", "The AccessKey secret.", None)
    region: str = setting("region", "The region, such as `oss-cn-hangzhou`.", "", check=_region_problem)
    bucket: str = setting("bucket", "The bucket.", "", check=bucket_problem)
    endpoint: str | None = setting(
        "endpoint",
        "Host or URL of the S3-compatible endpoint, instead of the region's; the bucket before its name is left out.",
        None,
        check=endpoint_problem,
    )
    internal: bool = setting("internal", "Whether to use the region's internal endpoint.", default=False)
    encrypt: bool = setting("encrypt", "Whether the store encrypts objects.", default=False)
    secure: bool = setting("secure", "Whether to use HTTPS.", default=True)
    v4_auth: bool = setting(
        "v4auth", "Whether to sign with Signature Version 4; without it, with Version 2.", default=True
    )
    chunk_bytes: int = part_bytes_setting(10 * MIB)
    root_directory: str = setting("rootdirectory", "Key prefix in the bucket.", "")
    connections_max: int = connections_setting()

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Reject a section that lacks a required key, naming all missing ones."""
        keys = {
            "access_key": "accesskeyid",
            "secret_key": "accesskeysecret",
            "region": "region",
            "bucket": "bucket",
        }
        problems = {key: [MISSING_VALUE] for name, key in keys.items() if not values.get(name)}
        if problems:
            raise SettingInvalidError(problems)
        return values

    def as_s3(self) -> S3Options:
        """Return these options in the form of the S3 adapter."""
        region = self.region.removeprefix(_PREFIX)
        return S3Options(
            bucket=self.bucket,
            access_key=self.access_key,
            secret_key=self.secret_key,
            region=region,
            region_endpoint=self._host(region),
            root_directory=self.root_directory,
            secure=self.secure,
            v4_auth=self.v4_auth,
            encrypt=self.encrypt,
            storage_class=None,
            chunk_bytes=self.chunk_bytes,
            parts_in_flight=self.parts_in_flight,
            upload_memory_bytes=self.upload_memory_bytes,
            connections_max=self.connections_max,
            retry=self.retry,
        )

    def _host(self, region: str) -> str:
        if self.endpoint is None:
            return f"s3.{_PREFIX}{region}{'-internal' if self.internal else ''}.aliyuncs.com"
        # distribution's endpoint names the bucket; the SDK adds the bucket itself.
        scheme, separator, host = self.endpoint.rpartition("://")
        return scheme + separator + host.removeprefix(f"{self.bucket}.")
