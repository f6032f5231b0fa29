"""This registry as the source of a copy to another registry, read through the services that serve pulls."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from core.errors import (
    BlobUnknownError,
    ManifestUnknownError,
    NameInvalidError,
    NameUnknownError,
    StorageCorruptError,
    UpstreamAbsentError,
)
from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.names import Reference, RepositoryName, Tag
from core.ports.blob_storage import BlobReader
from core.ports.upstream import Upstream, UpstreamManifest, UpstreamTag
from core.registry.facade import Registry
from core.typing import override

_PAGE: Final = 1_000
_CATALOG_PAGE: Final = 100


class StoreSource(Upstream):
    """Reads the services of this process. Content that is damaged counts as absent.

    Args:
        registry: the services.
    """

    def __init__(self, registry: Registry) -> None:
        self.name = "this registry"
        self._registry = registry

    @override
    async def resolve(self, name: str, tag: Tag, *, etag: str | None = None) -> UpstreamTag | None:
        found = await self.manifest(name, tag)
        return UpstreamTag(digest=found.digest, media_type=found.media_type)

    @override
    async def manifest(self, name: str, reference: Reference) -> UpstreamManifest:
        try:
            found = await self._registry.manifests.get(_name(name), reference)
        except (ManifestUnknownError, StorageCorruptError) as error:
            raise _absent(name, reference, error) from None
        return UpstreamManifest(content=found.content, media_type=found.media_type, digest=found.digest)

    @override
    @asynccontextmanager
    async def open_blob(
        self, name: str, digest: Digest, *, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[BlobReader]:
        async with AsyncExitStack() as stack:
            opening = self._registry.blobs.open(_name(name), digest, offset=offset, length=length)
            try:
                reader = await stack.enter_async_context(opening)
            except (BlobUnknownError, StorageCorruptError) as error:
                raise _absent(name, digest, error) from None
            yield reader

    @override
    async def tags(self, name: str, *, after: str = "") -> AsyncIterator[Tag]:
        last, has_more = after, True
        while has_more:
            try:
                page = await self._registry.tags.page(_name(name), n=_PAGE, last=last)
            except NameUnknownError as error:
                raise _absent(name, "tags", error) from None
            for tag in page.items:
                yield tag
            last, has_more = (page.items[-1] if page.items else ""), page.has_more

    @override
    async def referrers(
        self, name: str, subject: Digest, *, artifact_type: str | None = None
    ) -> AsyncIterator[Descriptor]:
        last, has_more = "", True
        while has_more:
            page = await self._registry.referrers.page(_name(name), subject, artifact_type=artifact_type, last=last)
            for referrer in page.items:
                yield referrer
            last, has_more = (page.items[-1].digest if page.items else ""), page.has_more

    @override
    async def repositories(self, *, after: str = "") -> AsyncIterator[str]:
        last, has_more = after, True
        while has_more:
            page = await self._registry.catalog.page(_CATALOG_PAGE, last)
            for name in page.items:
                yield name
            last, has_more = (page.items[-1] if page.items else ""), page.has_more

    @override
    async def check(self) -> None:
        """Do nothing: a store that fails raises its own errors."""


def _name(name: str) -> RepositoryName:
    try:
        return RepositoryName(name)
    except NameInvalidError as error:
        raise UpstreamAbsentError(f"this registry cannot have {name}: {error}") from None


def _absent(name: str, what: str, error: Exception) -> UpstreamAbsentError:
    return UpstreamAbsentError(f"this registry does not have {what} of {name}: {error}")
