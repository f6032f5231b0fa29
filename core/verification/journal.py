"""Saved state of a verification, from which another one continues after a kill."""

import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import asdict, dataclass
from typing import Final

from core.errors import ObjectNotFoundError, ObjectTooLargeError
from core.ports.blob_storage import BlobStorage
from core.store import layout
from core.verification.findings import Finding, VerificationPhase

_VERSION: Final = 1
_PART_FINDINGS_MAX: Final = 2_000


@dataclass(slots=True, kw_only=True)
class Checkpoint:
    """Progress and counts of a verification."""

    phase: VerificationPhase = VerificationPhase.DATA
    cursor: str = ""
    blobs: int = 0
    blob_bytes: int = 0
    repositories: int = 0
    manifests: int = 0
    damage: int = 0
    """Findings that clients can notice."""
    left: int = 0
    """Findings counted in `damage` that are not repaired."""
    notes: int = 0
    parts: int = 0
    """Number of stored parts, each with up to 2,000 findings."""


class Journal:
    """Checkpoint and findings of one scope, which is a set of options. One verification of a scope runs at a time."""

    def __init__(self, storage: BlobStorage, scope: str) -> None:
        self._storage = storage
        self._scope = scope

    async def load(self) -> Checkpoint | None:
        """Return the checkpoint of an earlier verification of this scope, or None."""
        try:
            document = json.loads(await self._storage.read(layout.verification_checkpoint(self._scope)))
            if document.pop("version") != _VERSION:
                return None
            return Checkpoint(**document | {"phase": VerificationPhase(document["phase"])})
        except (ObjectNotFoundError, ObjectTooLargeError, ValueError, KeyError, TypeError, AttributeError):
            # No checkpoint, or one of another version: the verification starts from the beginning.
            return None

    async def save(self, checkpoint: Checkpoint, findings: Iterable[Finding] = ()) -> None:
        """Write findings, then the checkpoint that counts them."""
        batch = [finding.as_json() for finding in findings]
        for start in range(0, len(batch), _PART_FINDINGS_MAX):
            content = json.dumps(batch[start : start + _PART_FINDINGS_MAX]).encode()
            await self._storage.write(layout.verification_findings(self._scope, checkpoint.parts), content)
            checkpoint.parts += 1
        document = {"version": _VERSION, **asdict(checkpoint)}
        await self._storage.write(layout.verification_checkpoint(self._scope), json.dumps(document).encode())

    async def findings(self, checkpoint: Checkpoint) -> AsyncIterator[Finding]:
        """Yield the findings up to a checkpoint."""
        for part in range(checkpoint.parts):
            for document in json.loads(await self._storage.read(layout.verification_findings(self._scope, part))):
                yield Finding.from_json(document)

    async def clear(self) -> None:
        """Delete the saved state, the checkpoint first."""
        await self._storage.delete([layout.verification_checkpoint(self._scope)])
        await self._storage.delete_tree(layout.verification(self._scope))
