"""`storage`: exactly one driver, and the rules for its use."""

from typing import Any, Final

from marshmallow import ValidationError, pre_load
from typing_extensions import override

from config.schema.base import SectionSchema, Sub
from config.schema.collections import Unused
from config.schema.drivers import FilesystemSchema, InMemorySchema, S3Schema, ScsSchema
from config.schema.scalars import Bool, Choice, Duration, Integer, Text
from config.settings import (
    DescriptorCache,
    GarbageCollectionSettings,
    StorageKind,
    StorageSettings,
    UploadPurgingSettings,
    VerificationSettings,
)
from config.tree import Section

FOREIGN_DRIVERS: Final = ("azure", "gcs", "oss", "rados", "swift")
SETTLE_SECONDS_MIN: Final = 2.0
"""Servers poll four times per settle time; with a much shorter one, a slow store would make pushes fail."""
NO_DRIVER: Final = f"selects no driver: give one of {', '.join(StorageKind)} here, or in REGISTRY_STORAGE"


class DeleteSchema(SectionSchema):
    """`storage.delete`."""

    delete_enabled = Bool("enabled", "Whether manifests, tags and blobs may be deleted.")


class TrashSchema(SectionSchema):
    """`storage.trash`."""

    trash_keep_seconds = Duration(
        "keep", "How long deleted and collected content can be restored; 0 turns the trash off."
    )


class RedirectSchema(SectionSchema):
    """`storage.redirect`."""

    redirect_disabled = Bool("disable", "Whether the registry sends all blobs itself, without redirects to the store.")


class CacheSchema(SectionSchema):
    """`storage.cache`."""

    blob_descriptor_cache = Choice("blobdescriptor", "Where blob descriptors are cached.", DescriptorCache)
    blob_descriptor_cache_entries_max = Integer(
        "blobdescriptorsize", "Maximum number of descriptors in the memory cache; 0 means no limit."
    )
    layer_info = Choice(
        "layerinfo",
        "Old spelling of `blobdescriptor`.",
        DescriptorCache,
        replaced_by="cache.blobdescriptor",
    )


class TagSchema(SectionSchema):
    """`storage.tag`."""

    tag_concurrency_limit = Integer(
        "concurrencylimit",
        "Maximum number of concurrent storage requests of one tag lookup; 0 means the number of cores.",
    )


class UploadPurgingSchema(SectionSchema):
    """`storage.maintenance.uploadpurging`."""

    settings = UploadPurgingSettings

    enabled = Bool("enabled", "Whether abandoned upload sessions are removed.")
    age_seconds = Duration("age", "Age at which an upload session counts as abandoned.")
    interval_seconds = Duration("interval", "Time between two searches for abandoned upload sessions.")
    dry_run = Bool("dryrun", "Whether abandoned upload sessions are logged but not removed.")


class GarbageCollectionSchema(SectionSchema):
    """`storage.maintenance.garbagecollect`."""

    settings = GarbageCollectionSettings

    enabled = Bool("enabled", "Whether servers collect garbage automatically, one replica at a time.")
    interval_seconds = Duration("interval", "Time between two collections.")
    grace_seconds = Duration("graceperiod", "Content younger than this is not collected.")
    settle_seconds = Duration(
        "settletime",
        "How long a collector waits between announcing a removal and carrying it out; the same for all servers "
        "and commands of one store.",
    )
    deletes_untagged = Bool("deleteuntagged", "Whether manifests without a tag are garbage.")
    requests_per_second = Integer(
        "requestspersecond", "Maximum storage requests per second of a collecting server; 0 means no limit."
    )
    bytes_per_second = Integer(
        "bytespersecond", "Maximum bytes read per second by a collecting server; 0 means no limit."
    )
    dry_run = Bool("dryrun", "Whether garbage is logged but not removed.")

    @override
    def complete(self, values: dict[str, Any]) -> dict[str, Any]:
        """Reject a settle time that is too short for the servers to poll."""
        if values.get("settle_seconds", SETTLE_SECONDS_MIN) < SETTLE_SECONDS_MIN:
            raise ValidationError({"settletime": [f"must be at least {SETTLE_SECONDS_MIN:g}s"]})
        return values


class VerificationSchema(SectionSchema):
    """`storage.maintenance.verify`."""

    settings = VerificationSettings

    enabled = Bool("enabled", "Whether one replica at a time verifies the store, as `registry verify` does.")
    interval_seconds = Duration("interval", "Time from the end of a verification to the start of the next.")
    requests_per_second = Integer("requestspersecond", "Maximum storage requests per second; 0 means no limit.")
    bytes_per_second = Integer("bytespersecond", "Maximum bytes read from the store per second; 0 means no limit.")
    repair = Bool("repair", "Whether damage is repaired, as by `registry verify --repair`.")


class ReadOnlySchema(SectionSchema):
    """`storage.maintenance.readonly`."""

    readonly_enabled = Bool("enabled", "Whether pushes and deletes are refused.")
    readonly_reason = Text("reason", "Reason returned to refused clients.")
    readonly_upkeep = Bool(
        "upkeep", "Whether the registry collects garbage and removes abandoned uploads while it is read-only."
    )


class MaintenanceSchema(SectionSchema):
    """`storage.maintenance`."""

    upload_purging = Sub("uploadpurging", "Removal of abandoned upload sessions.", UploadPurgingSchema)
    garbage_collection = Sub("garbagecollect", "Garbage collection by running servers.", GarbageCollectionSchema)
    verification = Sub("verify", "Verification of the store by running servers.", VerificationSchema)
    readonly = Sub("readonly", "The read-only mode.", ReadOnlySchema)


class StorageSchema(SectionSchema):
    """`storage`; a bare driver name stands for that driver without parameters."""

    settings = StorageSettings

    filesystem = Sub("filesystem", "Images in a folder.", FilesystemSchema, may_be_empty=True)
    inmemory = Sub("inmemory", "Images in memory, for tests.", InMemorySchema, may_be_empty=True)
    scs = Sub("scs", "Images in Sohu Cloud Storage.", ScsSchema, may_be_empty=True)
    s3 = Sub("s3", "Images in an S3 bucket.", S3Schema, may_be_empty=True)
    s3aws = Sub("s3aws", "Old spelling of `s3`.", S3Schema, may_be_empty=True, replaced_by="s3")
    s3goamz = Sub("s3goamz", "Old spelling of `s3`.", S3Schema, may_be_empty=True, replaced_by="s3")
    azure = Unused("azure", "Images in Azure Blob Storage.")
    gcs = Unused("gcs", "Images in Google Cloud Storage.")
    oss = Unused("oss", "Images in Aliyun OSS.")
    rados = Unused("rados", "Images in Ceph.")
    swift = Unused("swift", "Images in OpenStack Swift.")
    delete = Sub("delete", "Deletion.", DeleteSchema)
    trash = Sub("trash", "The trash, which keeps deleted and collected content for a time.", TrashSchema)
    redirect = Sub("redirect", "Redirects to the store.", RedirectSchema)
    cache = Sub("cache", "The cache of blob descriptors.", CacheSchema)
    tag = Sub("tag", "Tag lookups.", TagSchema)
    maintenance = Sub("maintenance", "Background tasks and the read-only mode.", MaintenanceSchema)

    @pre_load
    def check_drivers(self, node: Any, **_: Any) -> Any:
        """Reject a section that selects no driver, or several."""
        if not isinstance(node, Section):
            return node
        known = (*StorageKind, *FOREIGN_DRIVERS)
        given = [(name, node[name].source) for name in known if name in node]
        if not given:
            raise ValidationError(NO_DRIVER)
        if len(given) > 1:
            found = " and ".join(f"{name} ({source})" for name, source in given)
            last = max(given, key=lambda pair: pair[1].is_variable)[0]
            raise ValidationError(
                f"selects {len(given)} drivers, {found}: keep one; "
                f"REGISTRY_STORAGE={last} replaces the section of the file"
            )
        return node

    @override
    def complete(self, values: dict[str, Any]) -> dict[str, Any]:
        """Add the kind of the selected driver."""
        kind = next((kind for kind in StorageKind if kind in values), None)
        values.pop("inmemory", None)
        if values.get("tag_concurrency_limit") == 0:
            del values["tag_concurrency_limit"]
        return values if kind is None else values | {"kind": kind}
