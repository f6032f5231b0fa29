"""`storage`: exactly one driver, and the rules for its use."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final

from adapters.blob_storage.s3.options import S3Options
from adapters.blob_storage.s3.presets import GcsOptions, OssOptions, SwiftOptions
from adapters.blob_storage.scs.options import ScsOptions
from config.tree import Section
from core.model.setting import Group, OldKey, SettingInvalidError, Unused, section, setting

_MIB: Final = 1024 * 1024
SETTLE_SECONDS_MIN: Final = 2.0
"""Servers poll four times per settle time; with a much shorter one, a slow store would make pushes fail."""


class StorageKind(StrEnum):
    """The storage adapters; the values are the driver names of the configuration file."""

    FILESYSTEM = "filesystem"
    INMEMORY = "inmemory"
    SCS = "scs"
    S3 = "s3"
    GCS = "gcs"
    OSS = "oss"
    SWIFT = "swift"


_FOREIGN_DRIVERS: Final = ("azure", "rados")
NO_DRIVER: Final = f"selects no driver: give one of {', '.join(StorageKind)} here, or in REGISTRY_STORAGE"


class DescriptorCache(StrEnum):
    """Where blob descriptors are cached."""

    NONE = "none"
    INMEMORY = "inmemory"
    REDIS = "redis"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesystemSettings:
    """Options of the filesystem driver."""

    root_directory: str = setting("rootdirectory", "Folder of all stored data.", "/var/lib/registry")
    max_threads: int = setting(
        "maxthreads", "Maximum number of concurrent file operations.", 100, at_least=1, at_most=10_000
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadPurgingSettings:
    """Removal of abandoned upload sessions."""

    enabled: bool = setting("enabled", "Whether abandoned upload sessions are removed.", default=True)
    age_seconds: float = setting("age", "Age at which an upload session counts as abandoned.", 168 * 3600.0)
    interval_seconds: float = setting(
        "interval", "Time between two searches for abandoned upload sessions.", 24 * 3600.0
    )
    dry_run: bool = setting("dryrun", "Whether abandoned upload sessions are logged but not removed.", default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class GarbageCollectionSettings:
    """Garbage collection; `settle_seconds` affects every server, whether it collects or not."""

    enabled: bool = setting(
        "enabled", "Whether servers collect garbage automatically, one replica at a time.", default=False
    )
    interval_seconds: float = setting("interval", "Time between two collections.", 24 * 3600.0)
    grace_seconds: float = setting("graceperiod", "Content younger than this is not collected.", 24 * 3600.0)
    settle_seconds: float = setting(
        "settletime",
        "How long a collector waits between announcing a removal and carrying it out; the same for all servers "
        "and commands of one store.",
        60.0,
    )
    deletes_untagged: bool = setting("deleteuntagged", "Whether manifests without a tag are garbage.", default=False)
    requests_per_second: int = setting(
        "requestspersecond",
        "Maximum storage requests per second of a collecting server; 0 means no limit.",
        100,
    )
    bytes_per_second: int = setting(
        "bytespersecond", "Maximum bytes read per second by a collecting server; 0 means no limit.", 0
    )
    dry_run: bool = setting("dryrun", "Whether garbage is logged but not removed.", default=False)

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Reject a settle time that is too short for the servers to poll."""
        if values.get("settle_seconds", SETTLE_SECONDS_MIN) < SETTLE_SECONDS_MIN:
            raise SettingInvalidError({"settletime": [f"must be at least {SETTLE_SECONDS_MIN:g}s"]})
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationSettings:
    """Verification of the store by running servers."""

    enabled: bool = setting(
        "enabled", "Whether one replica at a time verifies the store, as `registry verify` does.", default=False
    )
    interval_seconds: float = setting(
        "interval", "Time from the end of a verification to the start of the next.", 30 * 24 * 3600.0
    )
    requests_per_second: int = setting(
        "requestspersecond", "Maximum storage requests per second; 0 means no limit.", 20
    )
    bytes_per_second: int = setting(
        "bytespersecond", "Maximum bytes read from the store per second; 0 means no limit.", 10 * _MIB
    )
    repair: bool = setting("repair", "Whether damage is repaired, as by `registry verify --repair`.", default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageSettings:
    """Measurement of storage use by running servers."""

    interval_seconds: float = setting(
        "interval",
        "Time between two measurements by one of all replicas; 0 measures only on request. A measurement reads every "
        "manifest, and keeps to the rates of `garbagecollect`.",
        0.0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageSettings:
    """The selected adapter (`kind`) and the rules for its use; only the section of that adapter is used.

    A bare driver name stands for that driver without parameters.
    """

    kind: StorageKind = StorageKind.INMEMORY
    authorities: str | None = None
    """File of certificates that an object store's is verified by (`AWS_CA_BUNDLE`)."""
    filesystem: FilesystemSettings = section("filesystem", "Images in a folder.", FilesystemSettings, may_be_empty=True)
    inmemory: ClassVar = Group("inmemory", "Images in memory, for tests.", may_be_empty=True)
    scs: ScsOptions = section("scs", "Images in Sohu Cloud Storage.", ScsOptions, may_be_empty=True)
    s3: S3Options = section("s3", "Images in an S3 bucket.", S3Options, may_be_empty=True)
    s3aws: ClassVar = OldKey("s3aws", "Old spelling of `s3`.", S3Options, replaced_by="s3", may_be_empty=True)
    s3goamz: ClassVar = OldKey("s3goamz", "Old spelling of `s3`.", S3Options, replaced_by="s3", may_be_empty=True)
    gcs: GcsOptions = section("gcs", "Images in Google Cloud Storage.", GcsOptions, may_be_empty=True)
    oss: OssOptions = section("oss", "Images in Aliyun OSS.", OssOptions, may_be_empty=True)
    swift: SwiftOptions = section("swift", "Images in OpenStack Swift.", SwiftOptions, may_be_empty=True)
    azure: ClassVar = Unused("azure", "Images in Azure Blob Storage.")
    rados: ClassVar = Unused("rados", "Images in Ceph.")
    delete: ClassVar = Group("delete", "Deletion.")
    delete_enabled: bool = setting("delete.enabled", "Whether manifests, tags and blobs may be deleted.", default=True)
    trash: ClassVar = Group("trash", "The trash, which keeps deleted and collected content for a time.")
    trash_keep_seconds: float = setting(
        "trash.keep", "How long deleted and collected content can be restored; 0 turns the trash off.", 168 * 3600.0
    )
    redirect: ClassVar = Group("redirect", "Redirects to the store.")
    redirect_disabled: bool = setting(
        "redirect.disable",
        "Whether the registry sends all blobs itself, without redirects to the store.",
        default=False,
    )
    cache: ClassVar = Group("cache", "The cache of blob descriptors.")
    blob_descriptor_cache: DescriptorCache | None = setting(
        "cache.blobdescriptor",
        "Where blob descriptors are cached. If unset, pulls from SCS and S3 use memory, and pushes ask the store.",
        None,
    )
    blob_descriptor_cache_entries_max: int = setting(
        "cache.blobdescriptorsize",
        "Maximum number of descriptors in the memory cache; 0 means no limit.",
        10_000,
    )
    layer_info: ClassVar = OldKey(
        "cache.layerinfo",
        "Old spelling of `blobdescriptor`.",
        DescriptorCache,
        replaced_by="cache.blobdescriptor",
    )
    tag: ClassVar = Group("tag", "Tag lookups.")
    tag_concurrency_limit: int | None = setting(
        "tag.concurrencylimit",
        "Maximum number of concurrent storage requests of one tag lookup; 0 means the number of cores.",
        None,
    )
    maintenance: ClassVar = Group("maintenance", "Background tasks and the read-only mode.")
    upload_purging: UploadPurgingSettings = section(
        "maintenance.uploadpurging", "Removal of abandoned upload sessions.", UploadPurgingSettings
    )
    garbage_collection: GarbageCollectionSettings = section(
        "maintenance.garbagecollect", "Garbage collection by running servers.", GarbageCollectionSettings
    )
    verification: VerificationSettings = section(
        "maintenance.verify", "Verification of the store by running servers.", VerificationSettings
    )
    usage: UsageSettings = section("maintenance.usage", "Measurement of storage use by running servers.", UsageSettings)
    readonly: ClassVar = Group("maintenance.readonly", "The read-only mode.")
    readonly_enabled: bool = setting(
        "maintenance.readonly.enabled", "Whether pushes and deletes are refused.", default=False
    )
    readonly_reason: str | None = setting("maintenance.readonly.reason", "Reason returned to refused clients.", None)
    readonly_upkeep: bool = setting(
        "maintenance.readonly.upkeep",
        "Whether the registry collects garbage and removes abandoned uploads while it is read-only.",
        default=True,
    )

    @property
    def bucket(self) -> S3Options | None:
        """The bucket of a store that speaks S3, None for any other store."""
        match self.kind:
            case StorageKind.S3:
                return self.s3
            case StorageKind.GCS:
                return self.gcs.as_s3()
            case StorageKind.OSS:
                return self.oss.as_s3()
            case StorageKind.SWIFT:
                return self.swift.as_s3()
            case _:
                return None

    @staticmethod
    def check_section(section: Section) -> None:
        """Reject a section that selects no driver, or several."""
        known = (*StorageKind, *_FOREIGN_DRIVERS)
        given = [(name, section[name].source) for name in known if name in section]
        if not given:
            raise SettingInvalidError(NO_DRIVER)
        if len(given) > 1:
            found = " and ".join(f"{name} ({source})" for name, source in given)
            last = max(given, key=lambda pair: pair[1].is_variable)[0]
            raise SettingInvalidError(
                f"selects {len(given)} drivers, {found}: keep one; "
                f"REGISTRY_STORAGE={last} replaces the section of the file"
            )

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Add the kind of the selected driver."""
        kind = next((kind for kind in StorageKind if kind in values), None)
        values.pop("inmemory", None)
        if values.get("tag_concurrency_limit") == 0:
            del values["tag_concurrency_limit"]
        return values if kind is None else values | {"kind": kind}
