"""Check of a repository's lists of referrers: each entry is an existing manifest with that subject."""

from core.model.digest import Digest
from core.store import layout
from core.store.link_keys import ReferrerKey, parse_link_key
from core.verification.context import Context, RepositoryView, referrer_pair
from core.verification.findings import Finding, Kind, Outcome, Suspect
from core.verification.suspects import suspect_leftover


class ReferrerCheck:
    """Checks the `_referrers` of a repository. Call `find` before its manifests are read, `run` afterwards."""

    def __init__(self, context: Context, view: RepositoryView) -> None:
        self._context = context
        self._view = view

    async def find(self) -> list[Suspect]:
        """Record the listed referrers in the view; return suspects about other objects. One listing."""
        suspects = []
        async for key, _ in self._context.reader.walk(layout.all_referrers(self._view.name)):
            pair = self._pair(key)
            if pair is None:
                suspects.append(suspect_leftover(self._context, key))
            else:
                self._view.listed_referrers.put(referrer_pair(*pair))
        return suspects

    async def run(self) -> list[Suspect]:
        """Return the entries without a matching manifest. One more listing, if there are entries."""
        if len(self._view.listed_referrers) == 0:
            return []
        suspects = []
        async for key, stat in self._context.reader.walk(layout.all_referrers(self._view.name)):
            pair = self._pair(key)
            # A push writes this link before its manifest.
            if pair is None or referrer_pair(*pair) in self._view.true_referrers or not self._context.is_settled(stat):
                continue
            suspects.append(self._suspect_stale(key, *pair))
        return suspects

    def _pair(self, key: str) -> tuple[Digest, Digest] | None:
        link = parse_link_key(key)
        return (link.subject, link.digest) if isinstance(link, ReferrerKey) else None

    def _suspect_stale(self, key: str, subject: Digest, digest: Digest) -> Suspect:
        async def is_true() -> bool:
            return await self._names_subject(subject, digest)

        async def recheck() -> Finding | None:
            if await is_true() or not (await self._context.reader.link(key)).is_there:
                return None
            return Finding(
                kind=Kind.REFERRER_STALE,
                key=key,
                repository=self._view.name,
                digest=digest,
                detail=f"not a manifest of the repository with the subject {subject}",
            )

        async def repair() -> Outcome | None:
            return await self._context.repairer.remove_link(key, digest, is_wanted=is_true)

        return Suspect(recheck, repair)

    async def _names_subject(self, subject: Digest, digest: Digest) -> bool:
        """Whether a manifest may have this subject. True for a linked manifest whose data is missing or damaged."""
        link = layout.revision_link(self._view.name, digest)
        if not (await self._context.reader.link(link)).is_there:
            return False
        found = await self._context.reader.manifest(digest)
        named = found.manifest.subject if found.manifest else None
        return found.is_opaque or (named is not None and named.digest == subject)
