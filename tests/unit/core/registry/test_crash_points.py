"""The process is killed before each single change that an operation makes to storage.

After each kill, every listed tag can be pulled, every manifest has its references, nothing unverified is readable, and
all acknowledged content exists. The store deletes trees key by key, as object stores do.
"""

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.errors import StorageUnavailableError
from core.model import media_types
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from tests.support.content import descriptor, image_manifest
from tests.support.core_services import NOW, CoreServices, chunks
from tests.support.faulty_blob_storage import FaultyBlobStorage
from tests.support.invariants import broken_invariants

NAME = RepositoryName("team/app")
OCI = media_types.OCI_MANIFEST
OLD = image_manifest(b"{}", [b"old layer"])
NEW = image_manifest(b"{}", [b"new layer"])


async def push_image(services, manifest, layer, tag):
    for content in (b"{}", layer):
        state = await services.uploads.start(NAME)
        state = await services.uploads.append(state, chunks(content))
        await services.uploads.complete(state, Digest.of(content), chunks())
    await services.manifests.put(NAME, manifest, OCI, tags=[tag])
    await services.uploads.sweep()


async def push_another_image(services):
    await push_image(services, NEW, b"new layer", Tag("new"))


async def move_a_tag(services):
    await push_image(services, NEW, b"new layer", Tag("old"))


async def push_again(services):
    await push_image(services, OLD, b"old layer", Tag("old"))


async def push_a_referrer(services):
    signature = image_manifest(b"{}", subject=descriptor(OLD, OCI), artifactType="a/b")
    await services.manifests.put(NAME, signature, OCI, digest=Digest.of(signature))


async def delete_the_tag(services):
    await services.manifests.delete(NAME, Tag("old"))


async def delete_the_manifest(services):
    await services.manifests.delete(NAME, Digest.of(OLD))


async def run_until(mutations, operation):
    """Return the services over a store that died before change number `mutations`, and whether the operation ended."""
    storage = FaultyBlobStorage(InMemoryBlobStorage(now=lambda: NOW), splits_trees=True)
    services = CoreServices(storage=storage)
    await push_image(services, OLD, b"old layer", Tag("old"))
    await push_image(services, OLD, b"old layer", Tag("older"))
    storage.stop_after(mutations)
    try:
        await operation(services)
    except StorageUnavailableError:
        ended = False
    else:
        ended = True
    storage.heal()
    return CoreServices(storage=storage), ended


@pytest.mark.parametrize(
    "operation",
    [push_another_image, move_a_tag, push_again, push_a_referrer, delete_the_tag, delete_the_manifest],
    ids=lambda operation: operation.__name__,
)
async def test_kill_at_any_point_leaves_a_sound_store(operation):
    mutations = 0
    while True:
        services, ended = await run_until(mutations, operation)
        assert await broken_invariants(services, NAME) == [], f"killed before change {mutations}"
        if operation is not delete_the_manifest:
            assert (await services.manifests.get(NAME, Tag("older"))).content == OLD
        # The interrupted operation can be repeated.
        if not ended and operation not in {delete_the_tag, delete_the_manifest}:
            await operation(services)
            assert await broken_invariants(services, NAME) == []
        if ended:
            break
        mutations += 1
    assert mutations > 1
