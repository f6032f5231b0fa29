"""Which images of a repository are signed, for lists: by referrers, or by the tags of cosign 2."""

from collections.abc import Collection
from typing import Final

from core.concurrency import closing
from core.model.artifact_types import SIGNATURES, kind_of
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.ports.blob_storage import BlobStorage
from core.store import layout
from core.store.link_keys import ReferrerKey, parse_link_key
from core.summaries.service import SummaryService

LISTED_MAX: Final = 5_000
"""Maximum number of referrers of a repository that are listed."""
DESCRIBED_MAX: Final = 200
"""Maximum number of manifests that one call reads because their type is not known yet."""


class Signatures:
    """Recognizes signed images; one per process.

    Args:
        storage: the store.
        summaries: describes referrers.
    """

    def __init__(self, storage: BlobStorage, summaries: SummaryService) -> None:
        self._storage = storage
        self._summaries = summaries

    async def signed(
        self, name: RepositoryName, digests: Collection[Digest], attached: Collection[Tag] = ()
    ) -> frozenset[Digest]:
        """Return the manifests that have a signature. The signature itself is not verified.

        Costs one request per 1,000 objects in the list of all referrers of the repository, at most five, however many
        manifests are asked for, and reads of the referrers that are not described yet. Signatures beyond these limits
        are not found.

        Args:
            name: the repository.
            digests: the manifests in question.
            attached: the tags of the repository that clients derived from digests.
        """
        found = {digest for digest in digests if f"{digest.algorithm}-{digest.encoded}.sig" in attached}
        referrers = await self._referrers(name, set(digests) - found)
        described = await self._summaries.describe(name, list(referrers), built_max=DESCRIBED_MAX)
        for digest, summary in described.items():
            if kind_of(summary.artifact_type, summary.annotations) in SIGNATURES:
                found.add(referrers[digest])
        return frozenset(found)

    async def _referrers(self, name: RepositoryName, subjects: Collection[Digest]) -> dict[Digest, Digest]:
        """Return the referrers of these manifests, each with its subject."""
        referrers: dict[Digest, Digest] = {}
        listed = 0
        async with closing(self._storage.walk(layout.all_referrers(name))) as objects:
            async for key, _ in objects:
                listed += 1
                if listed > LISTED_MAX:
                    break
                link = parse_link_key(key)
                if isinstance(link, ReferrerKey) and link.subject in subjects:
                    referrers[link.digest] = link.subject
        return referrers
