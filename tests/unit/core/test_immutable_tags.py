"""Tags that keep the manifest they first pointed at, also when many push at once."""

import asyncio
import json

import pytest

from core import layout
from core.digest import Digest
from core.errors import DeniedError, ManifestUnknownError
from core.media_types import OCI_MANIFEST
from core.names import RepositoryName, Tag
from core.services.manifests import ManifestPolicy
from tests.support.content import image_manifest
from tests.support.core_services import CoreServices
from tests.support.faulty_blob_storage import FaultyBlobStorage

NAME, OTHER = RepositoryName("prod/app"), RepositoryName("dev/app")
V1, LATEST = Tag("v1"), Tag("latest")
POLICY = ManifestPolicy(
    requires_blobs=False, keeps_tag=lambda name, tag: name.startswith("prod/") and tag.startswith("v")
)


def image(number):
    return json.dumps({**json.loads(image_manifest()), "annotations": {"n": str(number)}}).encode()


FIRST, SECOND = image(1), image(2)


@pytest.fixture
def services():
    return CoreServices(policy=POLICY)


async def push(services, content, *tags, name=NAME, by_digest=False):
    digest = Digest.of(content) if by_digest else None
    return (await services.manifests.put(name, content, OCI_MANIFEST, digest=digest, tags=tags)).digest


async def test_same_manifest_may_be_pushed_again(services):
    digest = await push(services, FIRST, V1)
    assert await push(services, FIRST, V1) == digest
    assert await services.manifests.resolve(NAME, V1) == digest
    assert await services.tag_links.pointing_at(NAME, digest) == [V1]


async def test_another_manifest_is_denied_and_leaves_nothing(services):
    digest = await push(services, FIRST, V1)
    before = await services.keys()
    with pytest.raises(DeniedError) as raised:
        await push(services, SECOND, V1)
    assert raised.value.detail == {"tag": V1, "digest": digest}
    assert await services.keys() == before


async def test_one_kept_tag_among_several_denies_all(services):
    await push(services, FIRST, V1)
    with pytest.raises(DeniedError):
        await push(services, SECOND, LATEST, V1, by_digest=True)
    with pytest.raises(ManifestUnknownError):
        await services.manifests.resolve(NAME, LATEST)


async def test_other_tags_and_repositories_move(services):
    for name, tag in ((NAME, LATEST), (OTHER, V1)):
        await push(services, FIRST, tag, name=name)
        assert await services.manifests.resolve(name, tag) == Digest.of(FIRST)
        await push(services, SECOND, tag, name=name)
        assert await services.manifests.resolve(name, tag) == Digest.of(SECOND)
        await services.manifests.delete(name, tag)


async def test_kept_tag_cannot_be_deleted(services):
    digest = await push(services, FIRST, V1, LATEST)
    before = await services.keys()
    for reference in (V1, digest):
        with pytest.raises(DeniedError):
            await services.manifests.delete(NAME, reference)
    assert await services.keys() == before
    assert await services.manifests.delete(NAME, LATEST) == [LATEST]


async def test_unknown_kept_tag_is_unknown(services):
    with pytest.raises(ManifestUnknownError):
        await services.manifests.delete(NAME, V1)


async def test_tag_from_before_the_rule_is_kept(services):
    await push(CoreServices(storage=services.storage, policy=ManifestPolicy(requires_blobs=False)), FIRST, V1)
    with pytest.raises(DeniedError):
        await push(services, SECOND, V1)


async def test_broken_link_is_repaired(services):
    await services.storage.write(layout.tag_current_link(NAME, V1), b"")
    digest = await push(services, FIRST, V1)
    assert await services.manifests.resolve(NAME, V1) == digest


@pytest.mark.parametrize("seed", range(10))
async def test_one_of_many_pushes_wins(services, seed):
    """Several replicas on one storage whose requests take random times."""
    replicas = [
        CoreServices(
            storage=FaultyBlobStorage(services.storage, seed=seed * 10 + number, delay_rate=0.7), policy=POLICY
        )
        for number in range(4)
    ]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_try(push(replica, image(n), V1))) for n, replica in enumerate(replicas)]
    winners = [task.result() for task in tasks if task.result() is not None]
    assert len(winners) == 1
    assert await services.manifests.resolve(NAME, V1) == winners[0]
    assert (await services.manifests.get(NAME, V1)).digest == winners[0]


async def _try(pushing):
    try:
        return await pushing
    except DeniedError:
        return None


@pytest.mark.parametrize("pauses", range(12))
async def test_deleting_the_manifest_meanwhile_takes_nothing_away(services, pauses):
    """A push of a kept tag and a delete of its manifest by digest, in many interleavings: what is tagged is there."""
    digest = await push(services, FIRST, LATEST)
    slow = CoreServices(storage=FaultyBlobStorage(services.storage, seed=pauses, delay_rate=0.7), policy=POLICY)

    async def delete():
        for _ in range(pauses):
            await asyncio.sleep(0)
        try:
            await slow.manifests.delete(NAME, digest)
        except (DeniedError, ManifestUnknownError):
            return

    async with asyncio.TaskGroup() as group:
        group.create_task(push(slow, FIRST, V1))
        group.create_task(delete())
    assert (await services.manifests.get(NAME, V1)).content == FIRST
