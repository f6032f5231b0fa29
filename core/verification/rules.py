"""Options and rules of a verification: all that a process needs to schedule one."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Final

from core.model.descriptor import Descriptor
from core.model.media_types import NONDISTRIBUTABLE_LAYERS
from core.model.names import RepositoryName, Tag
from core.verification.findings import SETTLE_SECONDS

GRACE: Final = timedelta(hours=1)
"""Age, by the store's time, from which an object can count as useless."""
FORGET_AFTER: Final = timedelta(days=7)
"""How long a manifest that was set aside waits for a push if neither a tag nor an index refers to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationOptions:
    """Options of a verification."""

    repository: RepositoryName | None = None
    """Only this repository, with the blobs it links; None for the whole store."""
    fast: bool = False
    """Whether to check data by its size instead of reading it."""
    repair: bool = False
    restart: bool = False
    """Whether to discard the state of a killed verification instead of continuing from it."""
    settle_seconds: float = SETTLE_SECONDS
    grace: timedelta = GRACE
    forget_after: timedelta = FORGET_AFTER

    @property
    def job(self) -> str:
        """The name of the lease. One verification of this scope holds it at a time."""
        return f"verification-{self.scope}"

    @property
    def scope(self) -> str:
        """A name for the options that must match for one verification to continue another."""
        words = ["fast" if self.fast else "full", *(["repair"] if self.repair else [])]
        if self.repository is not None:
            words.append(sha256(self.repository.encode()).hexdigest()[:16])
        return "-".join(words)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationRules:
    """Rules for manifests and tags, from the configuration of the registry."""

    requires_blobs: bool = True
    """Whether a manifest can only be pushed after all its blobs. Only then does a manifest prove that the repository
    had a blob, so that a lost link may be rebuilt.
    """
    requires_child: Callable[[Descriptor], bool] = lambda _child: True
    is_immutable: Callable[[RepositoryName, Tag], bool] = lambda _name, _tag: False
    is_listed: Callable[[RepositoryName], bool] = lambda _name: True
    """Whether the catalog lists a repository that holds a manifest."""
    is_cached: Callable[[RepositoryName], bool] = lambda _name: False
    """Whether the content of a repository comes from an upstream on demand, so that blobs and images may be absent."""

    def must_have(self, blob: Descriptor) -> bool:
        """Whether the store must hold a blob that a manifest refers to."""
        return self.requires_blobs and not (blob.urls or blob.media_type in NONDISTRIBUTABLE_LAYERS)
