"""What a verification can find, how bad each is, and what may be done about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self


class Kind(StrEnum):
    """What is wrong; the values are what `--json` says, and stay."""

    CORRUPT_DATA = "corrupt-data"
    """The bytes of a blob do not hash to its digest."""
    BROKEN_LINK = "broken-link"
    """A link holds no digest, or another one than its place says."""
    LAYER_WITHOUT_DATA = "layer-without-data"
    """A repository links a blob whose data is gone, and no manifest of it needs the blob."""
    MANIFEST_LOST = "manifest-lost"
    """A repository holds a manifest whose data is gone or damaged."""
    MANIFEST_UNREADABLE = "manifest-unreadable"
    """What is stored as a manifest cannot be parsed, is of an unknown type, or contradicts itself."""
    BLOB_LOST = "blob-lost"
    """A manifest names a blob whose data is gone or damaged."""
    BLOB_UNLINKED = "blob-unlinked"
    """A manifest names a blob whose data is there, and which its repository does not link."""
    WRONG_SIZE = "wrong-size"
    """A manifest says another size of a blob or a manifest than it has."""
    WRONG_MEDIA_TYPE = "wrong-media-type"
    """An index says another media type of a manifest than it has."""
    CHILD_MISSING = "child-missing"
    """An index names a manifest that its repository does not hold."""
    TAG_WITHOUT_MANIFEST = "tag-without-manifest"
    """A tag points at a manifest that its repository does not hold."""
    TAG_WITHOUT_TARGET = "tag-without-target"
    """A tag has no link: it is listed, and points at nothing."""
    UNREADABLE_NAME = "unreadable-name"
    """Links lie where a repository lies, at a path that is no repository's name: its images cannot be pulled."""
    REFERRER_UNLISTED = "referrer-unlisted"
    """A manifest names a subject, whose list of referrers lacks it."""
    CATALOG_LACKS = "catalog-lacks"
    """The catalog's index does not know a repository that holds manifests."""
    CATALOG_GHOST = "catalog-ghost"
    """The catalog's index knows a repository that holds no manifest."""
    CATALOG_UNREADABLE = "catalog-unreadable"
    """The catalog's index does not answer, or has lost its names."""
    REFERRER_STALE = "referrer-stale"
    """A list of referrers names a manifest that is gone or has another subject."""
    HISTORY_STALE = "history-stale"
    """A tag's history names a manifest that is gone."""
    WHOLE_AGAIN = "whole-again"
    """A manifest that a repair set aside, because it lacked something, lacks nothing any more."""
    ORPHAN = "orphan"
    """Data that no repository links; garbage collection takes it away."""
    LEFTOVER = "leftover"
    """An object that no registry reads: of a writer that was killed, or put there by hand."""


NOTES: Final = frozenset({Kind.REFERRER_STALE, Kind.HISTORY_STALE, Kind.WHOLE_AGAIN, Kind.ORPHAN, Kind.LEFTOVER})
"""What costs space at most, and nobody sees."""


class Outcome(StrEnum):
    """What came of a finding."""

    FOUND = "found"
    """Only reported."""
    REMOVED = "removed"
    """The broken or useless object is gone."""
    REBUILT = "rebuilt"
    """The object was written anew, from what the rest of the store says."""
    QUARANTINED = "quarantined"
    """The damaged data was set aside: the next push of the blob heals it."""
    RESTORED = "restored"
    """A sound copy was in the trash and lies in its place again."""
    LOST = "lost"
    """A tag or link of an image that was gone already is gone too; a push of the image brings all back."""
    NEEDS_PUSH = "needs-push"
    """Nothing in the store can heal it; a push of the image does."""


_UNHEALED: Final = frozenset({Outcome.FOUND, Outcome.QUARANTINED, Outcome.LOST, Outcome.NEEDS_PUSH})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong at one place.

    `key` is the object in question; `images` are the images that cannot be pulled because of it, as people and
    clients name them: `repository:tag` for each tag, `repository@digest` for each manifest.
    """

    kind: Kind
    key: str
    detail: str
    repository: str = ""
    digest: str = ""
    """The blob or manifest that is damaged, missing or left over, where there is one."""
    images: tuple[str, ...] = ()
    outcome: Outcome = Outcome.FOUND

    @property
    def is_damage(self) -> bool:
        """Whether somebody can notice it."""
        return self.kind not in NOTES

    @property
    def is_left(self) -> bool:
        """Whether it is damage that somebody has still to look after."""
        return self.is_damage and self.outcome in _UNHEALED

    @property
    def is_damaged_data(self) -> bool:
        """Whether damaged data lies in its place still."""
        return self.kind is Kind.CORRUPT_DATA and self.outcome is Outcome.FOUND

    @property
    def identity(self) -> tuple[str, str, str]:
        """What two sightings of one thing have in common."""
        return (self.kind, self.key, self.digest)

    def as_json(self) -> dict[str, Any]:
        """Return the finding as a JSON object, without empty members."""
        document: dict[str, Any] = {"kind": self.kind, "damage": self.is_damage, "key": self.key}
        for name in ("repository", "digest"):
            if value := getattr(self, name):
                document[name] = value
        return document | {"detail": self.detail, "images": list(self.images), "outcome": self.outcome}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what `as_json` returned.

        Raises:
            ValueError, KeyError: it is something else.
        """
        return cls(
            kind=Kind(document["kind"]),
            key=document["key"],
            detail=document["detail"],
            repository=document.get("repository", ""),
            digest=document.get("digest", ""),
            images=tuple(document["images"]),
            outcome=Outcome(document["outcome"]),
        )
