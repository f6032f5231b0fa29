"""A measurement of storage use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from core.model.names import RepositoryName
from core.model.times import time_text
from core.ports.blob_storage import DiskSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """A number of items with their size in bytes."""

    count: int = 0
    size: int = 0

    def plus(self, size: int, *, count: int = 1) -> "Amount":
        """Return the amount with items of this total size added."""
        return Amount(count=self.count + count, size=self.size + size)

    def as_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"count": self.count, "bytes": self.size}


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryUsage:
    """The content that one repository links."""

    name: RepositoryName
    blobs: int
    """Number of blobs and manifests."""
    own: int
    """Size in bytes of the content that no other repository links."""
    shared: int
    """Size in bytes of the content that other repositories link too."""

    @property
    def size(self) -> int:
        """Size in bytes of all content of the repository."""
        return self.own + self.shared

    def as_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"name": self.name, "blobs": self.blobs, "ownBytes": self.own, "sharedBytes": self.shared}


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectableUsage:
    """The content that a garbage collection would remove now."""

    manifests: int
    blobs: Amount
    grace_seconds: float
    """Younger content is not included."""
    deletes_untagged: bool
    """Whether manifests are included that only lack a tag."""

    def as_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "manifests": self.manifests,
            **self.blobs.as_json(),
            "graceSeconds": self.grace_seconds,
            "untagged": self.deletes_untagged,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TrashUsage:
    """The content of the trash, without quarantined content."""

    entries: int = 0
    blobs: Amount = field(default_factory=Amount)
    next_expiry: datetime | None = None
    """Time at which the first entry expires, by the store's clock."""
    last_expiry: datetime | None = None
    """Time at which the last entry expires."""

    def as_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        times = {"nextExpiry": self.next_expiry, "lastExpiry": self.last_expiry}
        return {"entries": self.entries, **self.blobs.as_json()} | {
            key: time_text(time) for key, time in times.items() if time is not None
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreUsage:
    """The use of a whole store. Each amount consists of a number of objects and their bytes."""

    measured_at: datetime
    """By the store's clock."""
    seconds: float
    """Duration of the measurement."""
    repositories: int = 0
    """Number of repositories that link content."""
    blobs: Amount = field(default_factory=Amount)
    """All blobs and manifests, each once."""
    cached: Amount = field(default_factory=Amount)
    """Those that only repositories of the pull-through cache link."""
    unlinked: Amount = field(default_factory=Amount)
    """Those that no repository links: garbage, or a push in progress."""
    damaged: Amount = field(default_factory=Amount)
    """Those that are recorded as damaged."""
    collectable: CollectableUsage | None = None
    """The effect of a garbage collection; None if this was not computed."""
    trash: TrashUsage = field(default_factory=TrashUsage)
    quarantined: Amount = field(default_factory=Amount)
    """Damaged content that a repair set aside in the trash."""
    uploads: Amount = field(default_factory=Amount)
    """Unfinished uploads, without the parts of multipart uploads, which no listing of an object store shows."""
    transfers: Amount = field(default_factory=Amount)
    """Large blobs of copies in progress."""
    records: Amount = field(default_factory=Amount)
    """Records of the registry: coordination, events, summaries and trash entries."""
    disk: DiskSpace | None = None
    """The disk of the store, if the store has one."""

    def as_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        document: dict[str, Any] = {
            "measuredAt": time_text(self.measured_at),
            "seconds": round(self.seconds, 3),
            "repositories": self.repositories,
        }
        for name in ("blobs", "cached", "unlinked", "damaged", "quarantined", "uploads", "transfers", "records"):
            document[name] = getattr(self, name).as_json()
        document["trash"] = self.trash.as_json()
        if self.collectable is not None:
            document["collectable"] = self.collectable.as_json()
        if self.disk is not None:
            document["disk"] = {"bytes": self.disk.total, "freeBytes": self.disk.free}
        return document


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The use of a store and of each of its repositories."""

    store: StoreUsage
    repositories: Sequence[RepositoryUsage]
    """In descending order of their own bytes, then in ascending order of names."""

    def as_json(self, *, repositories: bool = False) -> Mapping[str, Any]:
        """Return the JSON form, with or without the list of repositories."""
        each = {"byRepository": [usage.as_json() for usage in self.repositories]} if repositories else {}
        return self.store.as_json() | each


def order(usage: RepositoryUsage) -> tuple[int, RepositoryName]:
    """Return the key by which repositories are sorted."""
    return -usage.own, usage.name
