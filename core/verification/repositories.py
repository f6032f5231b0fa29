"""Second phase: checks all repositories in ascending order of names, and their catalog entries."""

from collections.abc import AsyncGenerator
from typing import Final

from core.model.names import RepositoryName
from core.store import layout
from core.store.link_keys import parse_blob_key
from core.verification.catalog import CatalogComparison
from core.verification.context import Context
from core.verification.findings import Finding, Kind
from core.verification.repository import check_repository
from core.verification.steps import Step

_END: Final = "\x7f"
"""Cursor that is greater than every name."""


class RepositoriesCheck:
    """Checks repositories one by one, and compares the catalog index with them."""

    def __init__(self, context: Context, comparison: CatalogComparison) -> None:
        self._context = context
        self._comparison = comparison

    async def steps(self, *, after: str) -> AsyncGenerator[Step, None]:
        """Check all repositories greater than `after`."""
        async for key, stat in self._context.reader.walk(layout.BLOBS):
            digest = parse_blob_key(key)
            if digest is not None:
                self._context.inventory.put(digest, stat.size)
        async for path in self._context.reader.repositories(after=after):
            if name := RepositoryName.parse(path):
                yield await self._step(name)
            else:
                yield Step(cursor=path, findings=await self._unnamed(path))
        yield Step(cursor=_END, findings=await self._comparison.finish())

    async def one(self, name: RepositoryName) -> AsyncGenerator[Step, None]:
        """Check one repository, without the catalog."""
        verdict = await check_repository(self._context, name)
        yield Step(cursor=name, findings=verdict.findings, repositories=1, manifests=verdict.manifests)

    async def _unnamed(self, path: str) -> list[Finding]:
        links = [key async for key in self._context.reader.links_at(path)]
        if not links:
            return []
        detail = f"not a valid repository name, but contains {len(links)} links; rename the folder to serve its images"
        return [Finding(kind=Kind.UNREADABLE_NAME, key=layout.repository_path(path), detail=detail)]

    async def _step(self, name: RepositoryName) -> Step:
        verdict = await check_repository(self._context, name)
        drift = await self._comparison.compare(name, holds_manifest=verdict.holds_manifest)
        return Step(cursor=name, findings=[*verdict.findings, *drift], repositories=1, manifests=verdict.manifests)
