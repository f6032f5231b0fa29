"""Phases and steps of a verification. A verification can be interrupted after each step."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from core.verification.findings import Finding


class Phase(StrEnum):
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
