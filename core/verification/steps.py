"""What phases are made of: pieces of work after each of which a verification can be interrupted."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from core.verification.findings import Finding


class Phase(StrEnum):
    """The parts of a verification, in their order."""

    DATA = "data"
    REPOSITORIES = "repositories"
    ORPHANS = "orphans"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A piece of work that is done."""

    cursor: str
    """Where to go on after it."""
    findings: Sequence[Finding] = ()
    blobs: int = 0
    blob_bytes: int = 0
    """Bytes that were read and hashed."""
    repositories: int = 0
    manifests: int = 0
    fraction: float | None = None
    """How much of the phase is done, where one can know."""
