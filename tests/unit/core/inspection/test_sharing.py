"""The layers that other images of a repository have too."""

import json

import pytest

from core.inspection.sharing import MANIFESTS_MAX, find_shared, shared_layers
from core.model.digest import Digest
from core.model.names import Tag
from core.summaries.manifest_summary import ManifestSummary
from tests.support.content import image_manifest
from tests.support.counted_requests import CountedStorage
from tests.support.summaries import NAME, SummarizedStore

IMAGE, OTHER, INDEX, BASE, TOP = (Digest.of(content) for content in (b"image", b"other", b"index", b"base", b"top"))


def summary(digest, *contents):
    return ManifestSummary(digest=digest, media_type="m", contents=dict.fromkeys((digest, *contents), 1))


def test_layers_of_other_images_are_shared():
    summaries = {
        IMAGE: summary(IMAGE, BASE, TOP),
        OTHER: summary(OTHER, BASE),
        INDEX: summary(INDEX, IMAGE, BASE, TOP),
    }
    tags = {OTHER: [Tag("d"), Tag("c"), Tag("b"), Tag("a")], INDEX: [Tag("all")], Digest.of(b"unknown"): [Tag("x")]}
    found = shared_layers(IMAGE, [BASE, TOP], summaries, tags)
    assert list(found) == [BASE]
    assert (found[BASE].tags, found[BASE].count) == (["d", "c", "b"], 4)


@pytest.fixture
def store(storage, time):
    return SummarizedStore(CountedStorage(storage), time)


async def test_an_image_is_compared_with_the_tags_of_its_repository(store):
    one = await store.put_image("one", layers=[b"base", b"one"])
    await store.tag("one", one)
    await store.tag("two", await store.put_image("two", layers=[b"base", b"two"]))
    await store.tag("gone", Digest.of(b"gone"))
    service = store.service()
    view = await service.view(NAME)
    layers = [Digest.of(b"base"), Digest.of(b"one")]
    found = await find_shared(service, view, one, layers)
    assert {layer: each.tags for layer, each in found.by_layer.items()} == {layers[0]: ["two"]}
    assert (found.is_complete, found.within) == (False, None)


async def test_the_tags_of_indexes_with_the_image_are_named(store):
    await store.put_image(layers=[b"x"])
    config = json.dumps({"os": "linux", "architecture": "amd64", "config": {"Labels": {"l": ""}}}).encode()
    image = image_manifest(config, [b"x"])
    await store.tag("all", await store.put_index([image]))
    await store.tag("one", Digest.of(image))
    service = store.service()
    found = await find_shared(service, await service.view(NAME), Digest.of(image), [Digest.of(b"x")])
    assert found.within is not None
    assert (found.within.tags, found.within.count, found.by_layer) == (["all"], 1, {})
    assert found.is_complete


def test_the_number_of_manifests_is_bounded():
    assert MANIFESTS_MAX <= 300
