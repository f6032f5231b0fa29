"""Second phase: checks repositories one by one, each with its tags, links, manifests and lists of referrers."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import Final

from core.model.names import RepositoryName
from core.store import layout
from core.store.link_keys import parse_blob_key
from core.verification.catalog import CatalogComparison
from core.verification.context import Context, RepositoryView
from core.verification.findings import Finding, Kind, Outcome, Step, Suspect
from core.verification.links import LayerLinkCheck
from core.verification.manifests import ManifestCheck
from core.verification.referrers import ReferrerCheck
from core.verification.suspects import suspect_leftover
from core.verification.tags import TagCheck

_FAR_REACHING: Final = frozenset({Outcome.REMOVED, Outcome.LOST, Outcome.RESTORED})
_END: Final = "\x7f"
"""Cursor that is greater than every name."""
_ROUNDS_MAX: Final = 3
"""Maximum number of checks of one repository.

A repair may make other objects useless or complete. Two more checks find all of them.
"""


@dataclass(frozen=True, slots=True)
class RepositoryVerdict:
    """Result of checking a repository."""

    findings: tuple[Finding, ...]
    manifests: int
    holds_manifest: bool


async def check_repository(context: Context, name: RepositoryName) -> RepositoryVerdict:
    """Check a repository, and check it again while repairs remove or restore content.

    Memory grows with the number of tags and defects. Links and manifests are kept only as fingerprints.
    """
    found: dict[tuple[str, str, str], Finding] = {}
    manifests = 0
    for _ in range(_ROUNDS_MAX):  # pragma: no branch - two have always been enough
        view = RepositoryView(name)
        findings = await context.confirmer.confirm(await _suspects(context, view))
        fresh = [finding for finding in findings if finding.identity not in found]
        found |= {finding.identity: finding for finding in fresh}
        manifests = max(manifests, view.manifests)
        if not any(finding.outcome in _FAR_REACHING for finding in fresh):
            break
    if any(finding.outcome is not Outcome.FOUND for finding in found.values()):
        await context.record_repair(name)
    holds_manifest = manifests > 0 and await context.reader.holds_manifest(name)
    return RepositoryVerdict(tuple(found.values()), manifests, holds_manifest)


async def _suspects(context: Context, view: RepositoryView) -> list[Suspect]:
    tags = TagCheck(context, view)
    layer_links = LayerLinkCheck(context, view)
    manifests = ManifestCheck(context, view)
    referrers = ReferrerCheck(context, view)
    # The order matters: each check reads the entries that earlier ones recorded in the view.
    await tags.find()
    suspects = await referrers.find()
    suspects += await layer_links.run()
    suspects += await manifests.find()
    suspects += await manifests.run()
    suspects += layer_links.dangling()
    suspects += await tags.run()
    suspects += await referrers.run()
    async for child in context.reader.children(layout.repository(view.name)):
        if child == layout.UPSTREAM_DIRECTORY:
            suspects += await _untagged_records(context, view)
        elif child.startswith(layout.MARK) and child not in layout.REPOSITORY_DIRECTORIES:
            suspects += await _strays(context, f"{layout.repository(view.name)}/{child}")
    return suspects


async def _untagged_records(context: Context, view: RepositoryView) -> list[Suspect]:
    """Return the records of cached tags that another registry deleted. Nobody reads them."""
    wanted = {layout.upstream_tag(view.name, tag) for tag in view.tags}
    records = context.reader.walk(layout.upstream(view.name))

    def suspect(key: str) -> Suspect:
        return replace(suspect_leftover(context, key), repair=lambda: context.repairer.remove_link(key, None))

    return [suspect(key) async for key, _ in records if key not in wanted]


async def _strays(context: Context, prefix: str) -> list[Suspect]:
    return [suspect_leftover(context, key) async for key, _ in context.reader.walk(prefix)]


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
