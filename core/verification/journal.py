"""Saved state of a verification, from which another one continues after a kill."""

import json
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from core.errors import ObjectNotFoundError, ObjectTooLargeError, PaginationInvalidError
from core.ports.blob_storage import BlobStorage
from core.store import layout
from core.verification.findings import Finding, VerificationPhase

_VERSION: Final = 1
_PART_FINDINGS_MAX: Final = 2_000
PAGE_SIZE_MAX: Final = 1_000
"""Maximum number of findings on a page."""
_PAGE_PARTS_MAX: Final = 50
"""Number of parts after which a page ends."""
_PLACE: Final = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})", re.ASCII)


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
    is_complete: bool = False
    """Whether the verification has ended. Its counts and findings stay until the next one begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingsPage:
    """Consecutive findings of a verification."""

    findings: Sequence[Finding]
    last: str = ""
    """The place of the next page; empty if no more findings are known."""


class Journal:
    """Checkpoint and findings of one scope, which is a set of options. One verification of a scope runs at a time."""

    def __init__(self, storage: BlobStorage, scope: str) -> None:
        self._storage = storage
        self._scope = scope

    async def load(self) -> Checkpoint | None:
        """Return the checkpoint of an interrupted verification of this scope, or None."""
        checkpoint = await self.peek()
        return None if checkpoint is None or checkpoint.is_complete else checkpoint

    async def peek(self) -> Checkpoint | None:
        """Return the checkpoint of the running, interrupted or last verification of this scope, or None."""
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

    async def page(self, *, n: int | None = None, last: str = "") -> FindingsPage:
        """Return findings of the running, interrupted or last verification. Costs one request per part, at most 50.

        Args:
            n: the requested number of findings; None for the largest page.
            last: `last` of the previous page, or the empty text.

        Raises:
            PaginationInvalidError: `last` is not from a page.
        """
        size = PAGE_SIZE_MAX if n is None else min(n, PAGE_SIZE_MAX)
        begin, index = _parse_place(last)
        checkpoint = await self.peek()
        findings: list[Finding] = []
        if checkpoint is None or not size:
            return FindingsPage(findings=findings)
        for part in range(begin, checkpoint.parts):
            if part == begin + _PAGE_PARTS_MAX or len(findings) == size:
                return FindingsPage(findings=findings, last=f"{part}.0")
            try:
                documents = json.loads(await self._storage.read(layout.verification_findings(self._scope, part)))
            except ObjectNotFoundError:
                # Another verification has begun.
                break
            end = index + size - len(findings)
            findings += [Finding.from_json(document) for document in documents[index:end]]
            if end < len(documents):
                return FindingsPage(findings=findings, last=f"{part}.{end}")
            index = 0
        return FindingsPage(findings=findings)

    async def finish(self, checkpoint: Checkpoint) -> None:
        """Keep the counts and findings of a verification that has ended."""
        checkpoint.is_complete = True
        await self.save(checkpoint)

    async def clear(self) -> None:
        """Delete the saved state, the checkpoint first."""
        await self._storage.delete([layout.verification_checkpoint(self._scope)])
        await self._storage.delete_tree(layout.verification(self._scope))


def _parse_place(text: str) -> tuple[int, int]:
    if not text:
        return 0, 0
    found = _PLACE.fullmatch(text)
    if found is None:
        raise PaginationInvalidError("last must be from the Link of a page")
    return int(found[1]), int(found[2])
