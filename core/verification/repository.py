"""Check of one repository: its tags, links, manifests and lists of referrers together."""

from dataclasses import dataclass
from typing import Final

from core.model.names import RepositoryName
from core.store import layout
from core.verification.context import Context
from core.verification.findings import Finding, Outcome
from core.verification.links import LayerLinkCheck
from core.verification.manifests import ManifestCheck
from core.verification.referrers import ReferrerCheck
from core.verification.repository_view import RepositoryView
from core.verification.suspects import suspect_leftover
from core.verification.suspicion import Suspicion
from core.verification.tags import TagCheck

_FAR_REACHING: Final = frozenset({Outcome.REMOVED, Outcome.LOST, Outcome.RESTORED})
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
        findings = await context.confirmer.confirm(await _suspicions(context, view))
        fresh = [finding for finding in findings if finding.identity not in found]
        found |= {finding.identity: finding for finding in fresh}
        manifests = max(manifests, view.manifests)
        if not any(finding.outcome in _FAR_REACHING for finding in fresh):
            break
    holds_manifest = manifests > 0 and await context.holds_manifest(name)
    return RepositoryVerdict(tuple(found.values()), manifests, holds_manifest)


async def _suspicions(context: Context, view: RepositoryView) -> list[Suspicion]:
    tags = TagCheck(context, view)
    layer_links = LayerLinkCheck(context, view)
    manifests = ManifestCheck(context, view)
    referrers = ReferrerCheck(context, view)
    # The order matters: each check reads the entries that earlier ones recorded in the view.
    await tags.find()
    suspicions = await referrers.find()
    suspicions += await layer_links.run()
    suspicions += await manifests.find()
    suspicions += await manifests.run()
    suspicions += layer_links.dangling()
    suspicions += await tags.run()
    suspicions += await referrers.run()
    async for child in context.reader.children(layout.repository(view.name)):
        if child.startswith(layout.MARK) and child not in layout.REPOSITORY_DIRECTORIES:
            suspicions += await _strays(context, f"{layout.repository(view.name)}/{child}")
    return suspicions


async def _strays(context: Context, prefix: str) -> list[Suspicion]:
    return [suspect_leftover(context, key) async for key, _ in context.reader.walk(prefix)]
