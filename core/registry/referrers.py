"""Referrers: the manifests of a repository that have a given manifest as their subject."""

import json
from typing import Final

from core.concurrency import map_bounded
from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.manifest import PUSHED_MANIFEST_BYTES_MAX, Manifest
from core.model.names import RepositoryName, Tag
from core.model.pagination import Page
from core.ports.blob_storage import BlobStorage
from core.store import layout
from core.store.link_keys import digest_at
from core.store.links import Links
from core.store.stored_manifests import read_stored_manifest
from core.store.tag_links import TagLinks

PAGE_SIZE_MAX: Final = 500
PAGE_BYTES_MAX: Final = 4 * 1024 * 1024
"""Clients need not accept a larger manifest, and a page is a manifest; annotations can have any length."""
_BATCH: Final = 16


class ReferrerService:
    """Lists referrers, including those that clients recorded under a fallback tag on registries without this API."""

    def __init__(self, storage: BlobStorage, links: Links, tag_links: TagLinks) -> None:
        self._storage = storage
        self._links = links
        self._tags = tag_links

    async def page(
        self,
        name: RepositoryName,
        subject: Digest,
        *,
        artifact_type: str | None = None,
        n: int | None = None,
        last: str = "",
    ) -> Page[Descriptor]:
        """Return the referrers of `subject` by ascending digest; empty for an unknown subject (end-12a).

        Costs two storage requests to find them, and two for each that is read.

        Args:
            name: the repository.
            subject: the digest of the subject, which need not exist.
            artifact_type: only referrers of this type.
            n: maximum number of referrers; None, or a larger number than the limit, means the limit.
            last: only digests greater than this.
        """
        limit = PAGE_SIZE_MAX if n is None else min(n, PAGE_SIZE_MAX)
        if limit == 0:
            return Page(items=[])
        candidates = sorted(digest for digest in await self._candidates(name, subject) if digest > last)

        async def describe(digest: Digest) -> Descriptor | None:
            return await self._describe(name, subject, digest)

        found: list[Descriptor] = []
        page_bytes = 0
        # Small batches: a manifest may have megabytes, and a page is often full long before the end.
        for start in range(0, len(candidates), _BATCH):
            for descriptor in await map_bounded(describe, candidates[start : start + _BATCH]):
                if descriptor is None or artifact_type not in (None, descriptor.artifact_type):
                    continue
                page_bytes += len(json.dumps(descriptor.as_json()))
                if len(found) == limit or (found and page_bytes > PAGE_BYTES_MAX):
                    return Page(items=found, has_more=True)
                found.append(descriptor)
        return Page(items=found)

    async def _candidates(self, name: RepositoryName, subject: Digest) -> set[Digest]:
        prefix = layout.referrers(name, subject) + "/"
        candidates = await self._fallback(name, subject)
        async for key, _ in self._storage.walk(prefix.rstrip("/")):
            algorithm, _, rest = key.removeprefix(prefix).partition("/")
            if (digest := digest_at(algorithm, rest.removesuffix(layout.LINK))) is not None:
                candidates.add(digest)
        return candidates

    async def _fallback(self, name: RepositoryName, subject: Digest) -> set[Digest]:
        # OCI distribution-spec 1.1, "Referrers Tag Schema": clients keep the index under this tag.
        index = await self._tags.resolve(name, Tag(f"{subject.algorithm[:32]}-{subject.encoded[:64]}"))
        manifest = await self._manifest(name, index) if index is not None else None
        return {entry.digest for entry in (*manifest.manifests, *manifest.others)} if manifest else set()

    async def _describe(self, name: RepositoryName, subject: Digest, digest: Digest) -> Descriptor | None:
        # If another registry deletes a referrer, the link stays behind; the revision link decides.
        manifest = await self._manifest(name, digest)
        if manifest is None or manifest.subject is None or manifest.subject.digest != subject:
            return None
        return manifest.describe(digest)

    async def _manifest(self, name: RepositoryName, digest: Digest) -> Manifest | None:
        if await self._links.read(layout.revision_link(name, digest)) is None:
            return None
        # A damaged manifest is not listed, because its content cannot be trusted.
        return (await read_stored_manifest(self._storage, digest, limit=PUSHED_MANIFEST_BYTES_MAX)).manifest
