"""Settings of the blob storage: the adapter, its parameters, and the rules for its use."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from config.settings.secret import Secret

MIB: Final = 1024 * 1024

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


class StorageKind(StrEnum):
    """The storage adapters; the values are the driver names of the configuration file."""

    FILESYSTEM = "filesystem"
    INMEMORY = "inmemory"
    SCS = "scs"
    S3 = "s3"


class DescriptorCache(StrEnum):
    """Where blob descriptors are cached."""

    INMEMORY = "inmemory"
    REDIS = "redis"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesystemSettings:
    """Options of the filesystem driver."""

    root_directory: str = "/var/lib/registry"
    max_threads: int = 100
    """Maximum number of parallel file operations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScsSettings:
    """Sohu Cloud Storage; the loader guarantees that the first four are not empty when it is selected."""

    access_key: str = ""
    secret_key: Secret = field(default_factory=lambda: Secret(""))
    region: str = ""
    """One of `SCS_REGIONS`, unless `endpoint` is given."""
    bucket: str = ""
    endpoint: str | None = None
    """`host[:port]` or URL to use instead of the region's own host."""
    secure: bool = False
    """Whether to use HTTPS."""
    chunk_bytes: int = 10 * MIB
    parts_in_flight: int = 3
    """Maximum number of parts of one upload sent in parallel; an upload holds one more in memory."""
    connections_max: int = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Settings:
    """An S3 bucket; without access keys, the standard AWS credential chain is used."""

    access_key: str | None = None
    secret_key: Secret | None = None
    session_token: Secret | None = None
    region: str | None = None
    region_endpoint: str | None = None
    """URL or `host[:port]` of a store other than AWS."""
    bucket: str = ""
    root_directory: str = ""
    """Key prefix in the bucket."""
    secure: bool = True
    skip_verify: bool = False
    v4_auth: bool = True
    force_path_style: bool = False
    accelerate: bool = False
    use_dualstack: bool = False
    use_fips_endpoint: bool = False
    encrypt: bool = False
    key_id: str | None = None
    """KMS key for `encrypt`."""
    storage_class: str | None = "STANDARD"
    """None omits the header, for stores without storage classes (`NONE` in the file)."""
    object_acl: str | None = None
    """None omits the header, for buckets that reject ACLs."""
    redirect_endpoint: str | None = None
    """The endpoint in presigned URLs, if clients reach the store at another address."""
    chunk_bytes: int = 10 * MIB
    parts_in_flight: int = 3
    """Maximum number of parts of one upload sent in parallel; an upload holds one more in memory."""
    connections_max: int = 256
    multipart_copy_chunk_bytes: int = 32 * MIB
    multipart_copy_concurrency_max: int = 100
    multipart_copy_threshold_bytes: int = 32 * MIB
    user_agent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadPurgingSettings:
    """Removal of abandoned upload sessions."""

    enabled: bool = True
    age_seconds: float = 168 * 3600.0
    interval_seconds: float = 24 * 3600.0
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GarbageCollectionSettings:
    """Garbage collection; `settle_seconds` affects every server, whether it collects or not."""

    enabled: bool = False
    """Whether servers collect garbage on a schedule."""
    interval_seconds: float = 24 * 3600.0
    grace_seconds: float = 24 * 3600.0
    """Content written less than this ago is kept."""
    settle_seconds: float = 60.0
    """How long a collector waits between the announcement of removals and the removals."""
    deletes_untagged: bool = False
    requests_per_second: int = 100
    """0 for no limit."""
    bytes_per_second: int = 0
    """0 for no limit."""
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationSettings:
    """Verification of the store by running servers."""

    enabled: bool = False
    interval_seconds: float = 30 * 24 * 3600.0
    requests_per_second: int = 20
    bytes_per_second: int = 10 * MIB
    repair: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageSettings:
    """The selected adapter (`kind`) and the rules for its use; only the section of that adapter is used."""

    kind: StorageKind = StorageKind.INMEMORY
    filesystem: FilesystemSettings = field(default_factory=FilesystemSettings)
    scs: ScsSettings = field(default_factory=ScsSettings)
    s3: S3Settings = field(default_factory=S3Settings)
    delete_enabled: bool = True
    redirect_disabled: bool = False
    readonly_enabled: bool = False
    readonly_reason: str | None = None
    """The reason given to a refused client."""
    readonly_upkeep: bool = True
    """Whether garbage collection, retention and the removal of abandoned uploads continue while read-only."""
    trash_keep_seconds: float = 168 * 3600.0
    """How long deleted or collected content can be restored; with 0, deletions are not recorded."""
    upload_purging: UploadPurgingSettings = field(default_factory=UploadPurgingSettings)
    garbage_collection: GarbageCollectionSettings = field(default_factory=GarbageCollectionSettings)
    verification: VerificationSettings = field(default_factory=VerificationSettings)
    blob_descriptor_cache: DescriptorCache | None = None
    blob_descriptor_cache_entries_max: int = 10_000
    """0 for no limit."""
    tag_concurrency_limit: int | None = None
    """Simultaneous storage requests for one tag lookup; None for the number of cores."""
