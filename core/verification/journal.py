"""What a verification remembers in storage, so that one that is killed goes on where it was."""

import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import asdict, dataclass
from typing import Final

from core import layout
from core.errors import ObjectNotFoundError, ObjectTooLargeError
from core.ports.blob_storage import BlobStorage
from core.verification.findings import Finding
from core.verification.steps import Phase

_VERSION: Final = 1
_PART_FINDINGS_MAX: Final = 2_000


@dataclass(slots=True, kw_only=True)
class Checkpoint:
    """How far a verification has come, and what it counted."""

    phase: Phase = Phase.DATA
    cursor: str = ""
    blobs: int = 0
    blob_bytes: int = 0
    repositories: int = 0
    manifests: int = 0
    damage: int = 0
    """Findings that somebody can notice."""
    left: int = 0
    """Of these, the ones that are not repaired."""
    notes: int = 0
    parts: int = 0
    """How many parts of findings are written."""


class Journal:
    """Checkpoint and findings of one scope: what is looked at, and how; one verification at a time."""

    def __init__(self, storage: BlobStorage, scope: str) -> None:
        self._storage = storage
        self._scope = scope

    async def load(self) -> Checkpoint | None:
        """Return where an earlier verification of this scope was ended, or None."""
        try:
            document = json.loads(await self._storage.read(layout.verification_checkpoint(self._scope)))
            if document.pop("version") != _VERSION:
                return None
            return Checkpoint(**document | {"phase": Phase(document["phase"])})
        except (ObjectNotFoundError, ObjectTooLargeError, ValueError, KeyError, TypeError, AttributeError):
            # None, or of another version: one begins anew.
            return None

    async def save(self, checkpoint: Checkpoint, findings: Iterable[Finding] = ()) -> None:
        """Write findings, then the checkpoint that lies behind them."""
        batch = [finding.as_json() for finding in findings]
        for start in range(0, len(batch), _PART_FINDINGS_MAX):
            content = json.dumps(batch[start : start + _PART_FINDINGS_MAX]).encode()
            await self._storage.write(layout.verification_findings(self._scope, checkpoint.parts), content)
            checkpoint.parts += 1
        document = {"version": _VERSION, **asdict(checkpoint)}
        await self._storage.write(layout.verification_checkpoint(self._scope), json.dumps(document).encode())

    async def findings(self, checkpoint: Checkpoint) -> AsyncIterator[Finding]:
        """Yield what was found up to a checkpoint."""
        for part in range(checkpoint.parts):
            for document in json.loads(await self._storage.read(layout.verification_findings(self._scope, part))):
                yield Finding.from_json(document)

    async def clear(self) -> None:
        """Forget all, first of it that there is anything."""
        await self._storage.delete([layout.verification_checkpoint(self._scope)])
        await self._storage.delete_tree(layout.verification(self._scope))
