"""Deletion of cached repositories."""

import pytest

from adapters.upstream.memory import InMemoryUpstream
from core.errors import ManifestUnknownError
from core.model import media_types
from core.model.names import RepositoryName, Tag
from core.store import layout
from tests.support.cached_services import NAME, CachedServices, add_image
from tests.support.content import image_manifest


async def test_records_go_with_the_repository(cache: CachedServices, upstream: InMemoryUpstream):
    add_image(upstream, "a", "b")
    for tag in ("a", "b"):
        await cache.manifests.get(NAME, Tag(tag))
    assert (await cache.repositories.delete(NAME, dry_run=True)).tags
    assert len(await cache.keys(layout.upstream(NAME))) == 2
    await cache.repositories.delete(NAME)
    assert await cache.keys(layout.repository(NAME)) == set()
    upstream.remove_tag("library/alpine", "a")
    with pytest.raises(ManifestUnknownError):
        await cache.manifests.get(NAME, Tag("a"))


async def test_local_repository_is_deleted_as_without_a_cache(cache: CachedServices):
    local = RepositoryName("team/app")
    await cache.push_blob(local, b"{}")
    await cache.manifests.put(local, image_manifest(b"{}"), media_types.OCI_MANIFEST, tags=[Tag("a")])
    assert (await cache.repositories.delete(local)).tags
