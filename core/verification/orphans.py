"""Last phase: finds data that no repository links. This data is only reported; garbage collection removes it."""

from collections.abc import AsyncGenerator
from typing import Final

from core.model.digest import Digest
from core.model.names import RepositoryName
from core.store import layout
from core.store.link_keys import digests_in, parse_blob_key
from core.verification.context import Context
from core.verification.digest_table import DigestTable, fingerprint_of
from core.verification.findings import Finding, Kind, Step

LINKED_MAX: Final = 4_000_000
"""Linked blobs in memory at a time: at most 200 MB, and 50 MB for a million."""
_REPORTED_AT_ONCE: Final = 1000


class OrphanSearch:
    """Compares the links of all repositories with all stored blobs. Large stores are compared in parts.

    A blob younger than the grace period may belong to a push in progress. If any blob looks like an orphan, the links
    are listed once more, to find those written between the two listings. A part with more links than fit into memory
    reports nothing.
    """

    def __init__(self, context: Context, *, blobs: int, linked_max: int = LINKED_MAX) -> None:
        self._context = context
        self._parts = blobs // linked_max + 1
        self._linked_max = linked_max * 2

    async def steps(self, *, after: str) -> AsyncGenerator[Step, None]:
        """Report orphans, one part of all digests at a time. `after` is the number of completed parts."""
        for part in range(int(after or 0), self._parts):
            linked = await self._linked(part)
            candidates: dict[Digest, int] = {}
            async for key, stat in self._context.reader.walk(layout.BLOBS):
                digest = parse_blob_key(key)
                if digest is None or not self._is_in(part, digest) or digest in linked:
                    continue
                if self._context.is_settled(stat):
                    candidates[digest] = stat.size
                if len(candidates) == _REPORTED_AT_ONCE:
                    yield Step(cursor=str(part), findings=await self._confirmed(part, candidates))
                    candidates = {}
            yield Step(
                cursor=str(part + 1),
                findings=await self._confirmed(part, candidates),
                fraction=(part + 1) / self._parts,
            )

    async def _confirmed(self, part: int, candidates: dict[Digest, int]) -> list[Finding]:
        if not candidates:
            return []
        linked = await self._linked(part)
        if linked.is_full:
            # Links of blobs that the store lacks have filled the table: any candidate may be among those left out.
            return []
        return [
            Finding(
                kind=Kind.ORPHAN,
                key=layout.blob_data(digest),
                digest=digest,
                detail=f"{size} bytes that no repository links; `registry garbage-collect` removes them",
            )
            for digest, size in candidates.items()
            if digest not in linked
        ]

    async def _linked(self, part: int) -> DigestTable:
        linked = DigestTable(self._linked_max)
        async for path in self._context.reader.repositories():
            async for key in self._links(path):
                for digest in digests_in(key):
                    if self._is_in(part, digest):
                        linked.put(digest)
        return linked

    async def _links(self, path: str) -> AsyncGenerator[str, None]:
        name = RepositoryName.parse(path)
        if name is None:
            # Such a repository cannot be served, but its content may still be needed.
            async for key in self._context.reader.links_at(path):
                yield key
            return
        for prefix in (layout.layers(name), layout.revisions(name), layout.incomplete(name)):
            async for key, _ in self._context.reader.walk(prefix):
                yield key

    def _is_in(self, part: int, digest: Digest) -> bool:
        return fingerprint_of(digest) % self._parts == part
