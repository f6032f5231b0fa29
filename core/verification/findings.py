"""Results of a verification: suspects, the findings they become once confirmed, and the steps that yield findings."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, Self

SETTLE_SECONDS: Final = 2.0
"""Seconds between the first and the second check. Writers take milliseconds between two writes."""


class Kind(StrEnum):
    """Kind of a finding. The values are part of the `--json` output and do not change."""

    CORRUPT_DATA = "corrupt-data"
    """The bytes of a blob do not hash to its digest."""
    BROKEN_LINK = "broken-link"
    """A link holds no digest, or a digest that does not match its key."""
    LAYER_WITHOUT_DATA = "layer-without-data"
    """A repository links a blob whose data is gone and that none of its manifests needs."""
    MANIFEST_LOST = "manifest-lost"
    """A repository holds a manifest whose data is gone or damaged."""
    MANIFEST_UNREADABLE = "manifest-unreadable"
    """A stored manifest cannot be parsed, has an unknown media type, or contradicts itself."""
    BLOB_LOST = "blob-lost"
    """A manifest refers to a blob whose data is gone or damaged."""
    BLOB_UNLINKED = "blob-unlinked"
    """A manifest refers to a blob that exists but that its repository does not link."""
    WRONG_SIZE = "wrong-size"
    """A manifest states a wrong size for a blob or a manifest."""
    WRONG_MEDIA_TYPE = "wrong-media-type"
    """An index states a wrong media type for a manifest."""
    CHILD_MISSING = "child-missing"
    """An index refers to a manifest that its repository does not hold."""
    TAG_WITHOUT_MANIFEST = "tag-without-manifest"
    """A tag points to a manifest that its repository does not hold."""
    TAG_WITHOUT_TARGET = "tag-without-target"
    """A tag has no link: the tag is listed but points to nothing."""
    UNREADABLE_NAME = "unreadable-name"
    """A path that is not a valid repository name holds links of a repository. Its images cannot be pulled."""
    REFERRER_UNLISTED = "referrer-unlisted"
    """A manifest is missing from the list of referrers of its subject."""
    CATALOG_LACKS = "catalog-lacks"
    """The catalog index lacks a repository that holds manifests."""
    CATALOG_GHOST = "catalog-ghost"
    """The catalog index contains a repository that holds no manifest."""
    CATALOG_UNREADABLE = "catalog-unreadable"
    """The catalog index does not respond, or has lost its entries."""
    REFERRER_STALE = "referrer-stale"
    """A list of referrers contains a manifest that is gone or has another subject."""
    HISTORY_STALE = "history-stale"
    """A tag's history contains a manifest that is gone."""
    WHOLE_AGAIN = "whole-again"
    """A manifest that a repair set aside as incomplete is complete again."""
    ORPHAN = "orphan"
    """Data that no repository links. Garbage collection removes it."""
    LEFTOVER = "leftover"
    """An object that no registry reads: left by a killed writer, or put there by hand."""


NOTES: Final = frozenset({Kind.REFERRER_STALE, Kind.HISTORY_STALE, Kind.WHOLE_AGAIN, Kind.ORPHAN, Kind.LEFTOVER})
"""Kinds that clients do not notice, and that at most waste space."""


class Outcome(StrEnum):
    """Outcome of a finding."""

    FOUND = "found"
    """Only reported."""
    REMOVED = "removed"
    """The broken or useless object was removed."""
    REBUILT = "rebuilt"
    """The object was rewritten from other data in the store."""
    QUARANTINED = "quarantined"
    """The damaged data was moved away. The next push of the blob restores it."""
    RESTORED = "restored"
    """A sound copy was moved back from the trash."""
    LOST = "lost"
    """A tag or link was removed because its image was already lost. A push of the image restores it."""
    NEEDS_PUSH = "needs-push"
    """The store cannot repair this; a push of the image does."""


_UNHEALED: Final = frozenset({Outcome.FOUND, Outcome.QUARANTINED, Outcome.LOST, Outcome.NEEDS_PUSH})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One defect at one place.

    `key` is the affected object. `images` are the images that cannot be pulled because of the defect:
    `repository:tag` for each tag, `repository@digest` for each manifest.
    """

    kind: Kind
    key: str
    detail: str
    repository: str = ""
    digest: str = ""
    """The blob or manifest that is damaged, missing or left over, if any."""
    images: tuple[str, ...] = ()
    outcome: Outcome = Outcome.FOUND

    @property
    def is_damage(self) -> bool:
        """Whether clients can notice the defect."""
        return self.kind not in NOTES

    @property
    def is_left(self) -> bool:
        """Whether the defect is damage that is not repaired."""
        return self.is_damage and self.outcome in _UNHEALED

    @property
    def is_damaged_data(self) -> bool:
        """Whether damaged data is still in its place."""
        return self.kind is Kind.CORRUPT_DATA and self.outcome is Outcome.FOUND

    @property
    def identity(self) -> tuple[str, str, str]:
        """The fields that are equal in two findings of the same defect."""
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
        """Return the finding encoded in `document` by `as_json`.

        Raises:
            ValueError, KeyError: `document` is not a finding.
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


Recheck = Callable[[], Awaitable[Finding | None]]
"""Checks for the defect again, and returns the finding if it still exists."""
Repair = Callable[[], Awaitable[Outcome | None]]
"""Repairs the defect and returns the outcome, or None if there was no defect after all."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A possible defect. It may also be a write in progress."""

    recheck: Recheck
    repair: Repair | None = None
    """The repair; None if the store cannot repair this defect."""
    otherwise: Outcome = Outcome.FOUND
    """The outcome to report if there is no `repair` and repairs were requested."""


class Confirmer:
    """Checks suspects again, all after one pause, and repairs the confirmed ones if requested."""

    def __init__(self, sleep: Callable[[float], Awaitable[None]], *, repairs: bool, settle_seconds: float) -> None:
        self._sleep = sleep
        self._repairs = repairs
        self._settle_seconds = settle_seconds

    async def confirm(self, suspects: Iterable[Suspect]) -> list[Finding]:
        """Return the confirmed findings with their outcomes. Does not pause if there are no suspects."""
        open_cases = list(suspects)
        if not open_cases:
            return []
        await self._sleep(self._settle_seconds)
        findings = []
        for suspect in open_cases:
            finding = await suspect.recheck()
            if finding is not None:
                findings += await self._repair(suspect, finding)
        return findings

    async def _repair(self, suspect: Suspect, finding: Finding) -> list[Finding]:
        if not self._repairs:
            return [finding]
        if suspect.repair is None:
            return [replace(finding, outcome=suspect.otherwise)]
        outcome = await suspect.repair()
        return [] if outcome is None else [replace(finding, outcome=outcome)]


class VerificationPhase(StrEnum):
    """The phases of a verification, in order."""

    DATA = "data"
    REPOSITORIES = "repositories"
    ORPHANS = "orphans"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A completed piece of work."""

    cursor: str
    """The cursor from which the phase continues after this step."""
    findings: Sequence[Finding] = ()
    blobs: int = 0
    blob_bytes: int = 0
    """Bytes read and hashed."""
    repositories: int = 0
    manifests: int = 0
    fraction: float | None = None
    """The completed fraction of the phase, if known."""
