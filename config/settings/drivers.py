"""The parameters of each storage driver."""

from dataclasses import dataclass
from typing import Any, ClassVar, Final

from config.settings.checks import bucket_problem, endpoint_problem
from core.model.secret import Secret
from core.model.setting import MISSING_VALUE, SettingInvalidError, Unused, setting

_MIB: Final = 1024 * 1024
_PART_BYTES_MIN: Final = 5 * _MIB
_PART_BYTES_MAX: Final = 5 * 1024 * _MIB
_STORAGE_CLASSES: Final = (
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "OUTPOSTS",
    "GLACIER_IR",
    "NONE",
)
_OBJECT_ACLS: Final = (
    "private",
    "public-read",
    "public-read-write",
    "aws-exec-read",
    "authenticated-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
)
SCS_REGIONS: Final = (
    "bjcnc",
    "bjctc",
    "shctc",
    "gzctc",
    "bjcnc-internal",
    "bjctc-internal",
    "shctc-internal",
    "gzctc-internal",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesystemSettings:
    """Options of the filesystem driver."""

    root_directory: str = setting("rootdirectory", "Folder of all stored data.", "/var/lib/registry")
    max_threads: int = setting(
        "maxthreads", "Maximum number of concurrent file operations.", 100, at_least=1, at_most=10_000
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScsSettings:
    """Sohu Cloud Storage; the first four are never empty when it is selected."""

    access_key: str = setting("accesskey", "The access key.", "")
    secret_key: Secret = setting("secretkey", "The secret key.", Secret(""))
    region: str = setting("region", f"The region: {', '.join(SCS_REGIONS)}.", "")
    bucket: str = setting("bucket", "The bucket; its name is converted to lower case.", "", check=bucket_problem)
    endpoint: str | None = setting(
        "endpoint", "Host or URL of the store, instead of the region's endpoint.", None, check=endpoint_problem
    )
    secure: bool = setting("secure", "Whether to use HTTPS.", default=False)
    chunk_bytes: int = setting(
        "chunksize",
        "Size of one uploaded part in bytes.",
        10 * _MIB,
        at_least=_PART_BYTES_MIN,
        at_most=_PART_BYTES_MAX,
    )
    parts_in_flight: int = setting(
        "partsinflight", "Maximum number of parts of one upload sent concurrently.", 3, at_least=1, at_most=1000
    )
    connections_max: int = setting(
        "maxconnections", "Maximum number of connections to the store.", 256, at_least=1, at_most=10_000
    )

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Reject a section that lacks a required key, naming all missing ones."""
        keys = {"access_key": "accesskey", "secret_key": "secretkey", "region": "region", "bucket": "bucket"}
        problems = {key: [MISSING_VALUE] for name, key in keys.items() if name not in values}
        region = values.get("region")
        if region and region not in SCS_REGIONS and "endpoint" not in values:
            problems["region"] = [f"must be one of {', '.join(SCS_REGIONS)}, unless an endpoint is given"]
        if problems:
            raise SettingInvalidError(problems)
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Settings:
    """An S3 bucket; without access keys, the standard AWS credential chain is used."""

    access_key: str | None = setting(
        "accesskey", "The access key; without it the standard AWS credential chain is used.", None
    )
    secret_key: Secret | None = setting("secretkey", "The secret key.", None)
    session_token: Secret | None = setting("sessiontoken", "The session token of temporary credentials.", None)
    region: str | None = setting("region", "The AWS region.", None)
    region_endpoint: str | None = setting(
        "regionendpoint", "Endpoint URL of a store other than AWS.", None, check=endpoint_problem
    )
    bucket: str = setting("bucket", "The bucket.", "", check=bucket_problem)
    root_directory: str = setting("rootdirectory", "Key prefix in the bucket.", "")
    secure: bool = setting("secure", "Whether to use HTTPS.", default=True)
    skip_verify: bool = setting(
        "skipverify", "Whether to skip the verification of the store's certificate.", default=False
    )
    v4_auth: bool = setting("v4auth", "Whether to sign with Signature Version 4.", default=True)
    force_path_style: bool = setting(
        "forcepathstyle", "Whether URLs contain the bucket in the path, not in the host name.", default=False
    )
    accelerate: bool = setting("accelerate", "Whether to use S3 Transfer Acceleration.", default=False)
    use_dualstack: bool = setting("usedualstack", "Whether to use AWS's IPv6 endpoints.", default=False)
    use_fips_endpoint: bool = setting("usefipsendpoint", "Whether to use AWS's FIPS endpoints.", default=False)
    encrypt: bool = setting("encrypt", "Whether the store encrypts objects.", default=False)
    key_id: str | None = setting("keyid", "The KMS key for `encrypt`.", None)
    storage_class: str | None = setting(
        "storageclass",
        "The storage class; with NONE, requests contain no class.",
        "STANDARD",
        choices=_STORAGE_CLASSES,
    )
    object_acl: str | None = setting(
        "objectacl", "The canned ACL of objects; without it, requests contain no ACL.", None, choices=_OBJECT_ACLS
    )
    redirect_endpoint: str | None = setting(
        "redirectendpoint",
        "Endpoint for redirects, if clients use another than the registry.",
        None,
        check=endpoint_problem,
    )
    chunk_bytes: int = setting(
        "chunksize",
        "Size of one uploaded part in bytes.",
        10 * _MIB,
        at_least=_PART_BYTES_MIN,
        at_most=_PART_BYTES_MAX,
    )
    parts_in_flight: int = setting(
        "partsinflight", "Maximum number of parts of one upload sent concurrently.", 3, at_least=1, at_most=1000
    )
    connections_max: int = setting(
        "maxconnections", "Maximum number of connections to the store.", 256, at_least=1, at_most=10_000
    )
    multipart_copy_chunk_bytes: int = setting(
        "multipartcopychunksize",
        "Size of one part of a server-side copy in bytes.",
        32 * _MIB,
        at_least=_PART_BYTES_MIN,
        at_most=_PART_BYTES_MAX,
    )
    multipart_copy_concurrency_max: int = setting(
        "multipartcopymaxconcurrency",
        "Maximum number of parts copied concurrently.",
        100,
        at_least=1,
        at_most=10_000,
    )
    multipart_copy_threshold_bytes: int = setting(
        "multipartcopythresholdsize",
        "Size in bytes above which objects are copied in parts.",
        32 * _MIB,
        at_most=_PART_BYTES_MAX,
    )
    user_agent: str | None = setting("useragent", "User-Agent of requests to the store.", None)
    log_level: ClassVar = Unused("loglevel", "Logging of the Go SDK.")

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Reject a section without bucket or region, or with only one of the two access keys."""
        problems: dict[str, list[str]] = {}
        if not values.get("bucket"):
            problems["bucket"] = [MISSING_VALUE]
        if not values.get("region") and not values.get("region_endpoint"):
            problems["region"] = [f"{MISSING_VALUE}, unless `regionendpoint` is given"]
        if bool(values.get("access_key")) != bool(values.get("secret_key")):
            problems["secretkey" if values.get("access_key") else "accesskey"] = [MISSING_VALUE]
        if problems:
            raise SettingInvalidError(problems)
        if values.get("storage_class") == "NONE":
            values["storage_class"] = None
        return values
