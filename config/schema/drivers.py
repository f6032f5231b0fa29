"""The parameters of each storage driver."""

from typing import Any, Final

from marshmallow import ValidationError
from typing_extensions import override

from config.schema.base import SectionSchema
from config.schema.collections import Unused
from config.schema.key import MISSING_VALUE
from config.schema.scalars import Bool, Integer, SecretText, Text
from config.schema.urls import bucket_problem, endpoint_problem
from config.settings import SCS_REGIONS, FilesystemSettings, S3Settings, ScsSettings

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


class FilesystemSchema(SectionSchema):
    """`storage.filesystem`."""

    settings = FilesystemSettings

    root_directory = Text("rootdirectory", "Folder of all stored data.")
    max_threads = Integer("maxthreads", "Maximum number of concurrent file operations.", at_least=1, at_most=10_000)


class InMemorySchema(SectionSchema):
    """`storage.inmemory`, which has no parameters."""

    settings = dict


class ScsSchema(SectionSchema):
    """`storage.scs`; the first four keys are required."""

    settings = ScsSettings

    access_key = Text("accesskey", "The access key.")
    secret_key = SecretText("secretkey", "The secret key.")
    region = Text("region", f"The region: {', '.join(SCS_REGIONS)}.")
    bucket = Text("bucket", "The bucket; its name is converted to lower case.", check=bucket_problem)
    endpoint = Text("endpoint", "Host or URL of the store, instead of the region's endpoint.", check=endpoint_problem)
    secure = Bool("secure", "Whether to use HTTPS.")
    chunk_bytes = Integer(
        "chunksize", "Size of one uploaded part in bytes.", at_least=_PART_BYTES_MIN, at_most=_PART_BYTES_MAX
    )
    parts_in_flight = Integer(
        "partsinflight", "Maximum number of parts of one upload sent concurrently.", at_least=1, at_most=1000
    )
    connections_max = Integer(
        "maxconnections", "Maximum number of connections to the store.", at_least=1, at_most=10_000
    )

    @override
    def complete(self, values: dict[str, Any]) -> dict[str, Any]:
        """Reject a section that lacks a required key, naming all missing ones."""
        missing: dict[Any, Any] = {
            self.keys()[name].key: [MISSING_VALUE]
            for name in ("access_key", "secret_key", "region", "bucket")
            if name not in values
        }
        region = values.get("region")
        if region and region not in SCS_REGIONS and "endpoint" not in values:
            missing["region"] = [f"must be one of {', '.join(SCS_REGIONS)}, unless an endpoint is given"]
        if missing:
            raise ValidationError(missing)
        return values


class S3Schema(SectionSchema):
    """`storage.s3`."""

    settings = S3Settings

    access_key = Text("accesskey", "The access key; without it the standard AWS credential chain is used.")
    secret_key = SecretText("secretkey", "The secret key.")
    session_token = SecretText("sessiontoken", "The session token of temporary credentials.")
    region = Text("region", "The AWS region.")
    region_endpoint = Text("regionendpoint", "Endpoint URL of a store other than AWS.", check=endpoint_problem)
    bucket = Text("bucket", "The bucket.", check=bucket_problem)
    root_directory = Text("rootdirectory", "Key prefix in the bucket.")
    secure = Bool("secure", "Whether to use HTTPS.")
    skip_verify = Bool("skipverify", "Whether to skip the verification of the store's certificate.")
    v4_auth = Bool("v4auth", "Whether to sign with Signature Version 4.")
    force_path_style = Bool("forcepathstyle", "Whether URLs contain the bucket in the path, not in the host name.")
    accelerate = Bool("accelerate", "Whether to use S3 Transfer Acceleration.")
    use_dualstack = Bool("usedualstack", "Whether to use AWS's IPv6 endpoints.")
    use_fips_endpoint = Bool("usefipsendpoint", "Whether to use AWS's FIPS endpoints.")
    encrypt = Bool("encrypt", "Whether the store encrypts objects.")
    key_id = Text("keyid", "The KMS key for `encrypt`.")
    storage_class = Text(
        "storageclass", "The storage class; with NONE, requests contain no class.", choices=_STORAGE_CLASSES
    )
    object_acl = Text(
        "objectacl", "The canned ACL of objects; without it, requests contain no ACL.", choices=_OBJECT_ACLS
    )
    redirect_endpoint = Text(
        "redirectendpoint", "Endpoint for redirects, if clients use another than the registry.", check=endpoint_problem
    )
    chunk_bytes = Integer(
        "chunksize", "Size of one uploaded part in bytes.", at_least=_PART_BYTES_MIN, at_most=_PART_BYTES_MAX
    )
    parts_in_flight = Integer(
        "partsinflight", "Maximum number of parts of one upload sent concurrently.", at_least=1, at_most=1000
    )
    connections_max = Integer(
        "maxconnections", "Maximum number of connections to the store.", at_least=1, at_most=10_000
    )
    multipart_copy_chunk_bytes = Integer(
        "multipartcopychunksize",
        "Size of one part of a server-side copy in bytes.",
        at_least=_PART_BYTES_MIN,
        at_most=_PART_BYTES_MAX,
    )
    multipart_copy_concurrency_max = Integer(
        "multipartcopymaxconcurrency", "Maximum number of parts copied concurrently.", at_least=1, at_most=10_000
    )
    multipart_copy_threshold_bytes = Integer(
        "multipartcopythresholdsize",
        "Size in bytes above which objects are copied in parts.",
        at_most=_PART_BYTES_MAX,
    )
    user_agent = Text("useragent", "User-Agent of requests to the store.")
    log_level = Unused("loglevel", "Logging of the Go SDK.")

    @override
    def complete(self, values: dict[str, Any]) -> dict[str, Any]:
        """Reject a section without bucket or region, or with only one of the two access keys."""
        problems: dict[Any, Any] = {}
        if not values.get("bucket"):
            problems["bucket"] = [MISSING_VALUE]
        if not values.get("region") and not values.get("region_endpoint"):
            problems["region"] = [f"{MISSING_VALUE}, unless `regionendpoint` is given"]
        if bool(values.get("access_key")) != bool(values.get("secret_key")):
            problems["secretkey" if values.get("access_key") else "accesskey"] = [MISSING_VALUE]
        if problems:
            raise ValidationError(problems)
        if values.get("storage_class") == "NONE":
            values["storage_class"] = None
        return values
