"""Options of an S3 store: access, limits and retries."""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from adapters.addresses import endpoint_problem
from core.model.secret import Secret
from core.model.setting import MISSING_VALUE, SettingInvalidError, Unused, setting

MIB: Final = 1024 * 1024
PART_BYTES_MIN: Final = 5 * MIB
"""S3 rejects smaller parts, except the last one."""
PART_BYTES_MAX: Final = 5 * 1024 * MIB
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
_BUCKET: Final = re.compile(r"[A-Za-z0-9._-]{1,255}|arn:[^\s]+")
"""The names that botocore accepts."""

_TRANSFER_BYTES_PER_SECOND_MIN: Final = 256 * 1024


def part_bytes_setting(default: int) -> int:
    """Declare `chunksize`."""
    text = "Size of one uploaded part in bytes."
    return setting("chunksize", text, default, at_least=PART_BYTES_MIN, at_most=PART_BYTES_MAX)


def raised_part_bytes_setting(default: int) -> int:
    """Declare `chunksize` of a driver of distribution that raises small sizes."""
    text = "Size of one uploaded part in bytes; less than 5 MiB means 5 MiB."
    least = PART_BYTES_MIN
    return setting("chunksize", text, default, at_least=least, at_most=PART_BYTES_MAX, fallback=least)


def parts_in_flight_setting() -> int:
    """Declare `partsinflight`."""
    return setting(
        "partsinflight", "Maximum number of parts of one upload sent concurrently.", 3, at_least=1, at_most=1000
    )


def upload_memory_setting() -> int:
    """Declare `uploadmemory`."""
    text = (
        "Maximum number of bytes of uploads that all processes of a server hold in memory; 0 means two parts for each "
        "process, and at least `partsinflight` + 1 parts."
    )
    return setting("uploadmemory", text, 0)


def connections_setting() -> int:
    """Declare `maxconnections`."""
    return setting("maxconnections", "Maximum number of connections to the store.", 256, at_least=1, at_most=10_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryOptions:
    """Retries of a failing request: exponential pauses with full jitter, limited in number and time."""

    attempts: int = 8
    """Attempts per request, including the first: if one attempt in seven fails, one request in six million does."""
    budget_seconds: float = 45.0
    """The latest start of an attempt, measured from the first one."""
    pause_base_seconds: float = 0.1
    pause_seconds_max: float = 5.0
    connect_seconds: float = 5.0
    read_seconds: float = 30.0
    """The longest wait for data from the store."""

    def pauses(self) -> Iterator[float]:
        """Yield the pause before each further attempt."""
        for attempt in range(self.attempts - 1):
            longest = min(self.pause_seconds_max, self.pause_base_seconds * 2**attempt)
            yield random.uniform(0, longest)  # noqa: S311 - jitter, not a secret

    def attempt_seconds(self, transfer_bytes: int) -> float:
        """Return the time limit of one attempt that transfers this many bytes in either direction."""
        transfer = transfer_bytes / _TRANSFER_BYTES_PER_SECOND_MIN
        return self.connect_seconds + self.read_seconds + transfer


def bucket_problem(text: str) -> str | None:
    """Return the problem with the name of a bucket, or None."""
    if _BUCKET.fullmatch(text):
        return None
    return "must be the name of a bucket alone: up to 255 letters, digits, `.`, `-` and `_`"


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Options:
    """`storage.s3`: one S3 bucket. Without an access key, the standard AWS credential chain is used."""

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
    """Without a trailing slash."""
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
    chunk_bytes: int = part_bytes_setting(10 * MIB)
    parts_in_flight: int = parts_in_flight_setting()
    upload_memory_bytes: int = upload_memory_setting()
    connections_max: int = connections_setting()
    multipart_copy_chunk_bytes: int = setting(
        "multipartcopychunksize",
        "Size of one part of a server-side copy in bytes.",
        32 * MIB,
        at_least=PART_BYTES_MIN,
        at_most=PART_BYTES_MAX,
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
        "Size in bytes above which objects are copied in parts. Distribution's default is 33554432.",
        100 * MIB,
        at_most=PART_BYTES_MAX,
    )
    user_agent: str | None = setting("useragent", "User-Agent of requests to the store.", None)
    log_level: ClassVar = Unused("loglevel", "Logging of the Go SDK.")

    authorities: str | None = None
    """File of certificates that the store's is verified by; None for those that the SDK ships."""
    retry: RetryOptions = field(default_factory=RetryOptions)

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

    def require_usable(self) -> None:
        """Check the values without which no store can work.

        Raises:
            ValueError: a value cannot work with any store.
        """
        if not self.bucket:
            raise ValueError("bucket must not be empty")
        for name in ("chunk_bytes", "multipart_copy_chunk_bytes"):
            if getattr(self, name) < PART_BYTES_MIN:
                raise ValueError(f"{name} must be at least {PART_BYTES_MIN}")
        if min(self.parts_in_flight, self.connections_max, self.multipart_copy_concurrency_max) < 1:
            raise ValueError("parts_in_flight, connections_max and multipart_copy_concurrency_max must be at least 1")

    @property
    def small_connections_max(self) -> int:
        """How many of the connections are for requests whose answers are read in memory."""
        return self.connections_max // 4

    def upload_memory_max(self, processes: int) -> int:
        """Return the maximum number of bytes of uploads in the memory of all processes of a server."""
        return self.upload_memory_bytes or self.chunk_bytes * max(self.parts_in_flight + 1, 2 * processes)

    def url(self, address: str | None) -> str | None:
        """Return the URL of an endpoint given as a URL or as `host[:port]`."""
        if not address or "://" in address:
            return address or None
        return f"{'https' if self.secure else 'http'}://{address}"

    def store_key(self, key: str) -> str:
        """Return the key in the bucket for a key of the port, mapped as in distribution."""
        return f"{self.root_directory.rstrip('/')}{key}".lstrip("/")
