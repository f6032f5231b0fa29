"""Whatever happened at the source and wherever copies were killed, a last pass makes the trees equal."""

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.errors import ManifestUnknownError, StorageUnavailableError
from core.model import media_types
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.store import layout
from tests.support.content import descriptor, image_index, image_manifest
from tests.support.core_services import NOW, CoreServices
from tests.support.faulty_blob_storage import FaultyBlobStorage
from tests.support.invariants import broken_invariants
from tests.support.transfers import CopyRun, registry_tree

NAMES = [RepositoryName(name) for name in ("a", "a/b", "a-b")]
TAGS = [Tag("v1"), Tag("v2")]
LAYERS = [b"one", b"two" * 500, b"three"]

names, tags, layers = st.sampled_from(NAMES), st.sampled_from(TAGS), st.sampled_from(LAYERS)
steps = st.one_of(
    st.tuples(st.just("push"), names, tags, layers),
    st.tuples(st.just("index"), names, tags, layers),
    st.tuples(st.just("sign"), names, tags, layers),
    st.tuples(st.just("untag"), names, tags, layers),
    st.tuples(st.just("delete"), names, tags, layers),
    st.tuples(st.just("copy"), st.integers(0, 40)),
)


async def push_image(services, name, layer):
    for content in (b"{}", layer):
        await services.push_blob(name, content)
    manifest = image_manifest(b"{}", [layer])
    await services.manifests.put(name, manifest, media_types.OCI_MANIFEST, digest=Digest.of(manifest))
    return manifest


async def change(services, kind, name, tag, layer):
    if kind == "push":
        await push_image(services, name, layer)
        manifest = image_manifest(b"{}", [layer])
        await services.manifests.put(name, manifest, media_types.OCI_MANIFEST, tags=[tag])
    elif kind == "index":
        index = image_index([await push_image(services, name, layer)])
        await services.manifests.put(name, index, media_types.OCI_INDEX, tags=[tag])
    elif kind == "sign":
        subject = descriptor(await push_image(services, name, layer), media_types.OCI_MANIFEST)
        signature = image_manifest(b"{}", subject=subject, artifactType="a/b")
        await services.manifests.put(name, signature, media_types.OCI_MANIFEST, digest=Digest.of(signature))
    else:
        reference = tag if kind == "untag" else Digest.of(image_manifest(b"{}", [layer]))
        try:
            await services.manifests.delete(name, reference)
        except ManifestUnknownError:
            return


@settings(max_examples=60, deadline=None)
@given(st.lists(steps, max_size=14))
async def test_trees_are_equal_after_the_last_pass(history):
    services = CoreServices(storage=InMemoryBlobStorage(now=lambda: NOW))
    await change(services, "push", NAMES[0], TAGS[0], b"first")
    target = FaultyBlobStorage(InMemoryBlobStorage(now=lambda: NOW), splits_trees=True)
    run = CopyRun(services.storage, target)
    for step in history:
        if step[0] != "copy":
            await change(services, *step)
            continue
        target.stop_after(step[1])
        try:
            await run.once(follows_deletions=True)
        except StorageUnavailableError:
            assert run.problems == []
        target.heal()
        assert await broken_invariants(CoreServices(storage=target), *NAMES) == []
    await run.once(follows_deletions=True)
    expected, actual = await registry_tree(services.storage), await registry_tree(target)
    links = {key: content for key, content in expected.items() if layout.BLOBS not in key}
    assert {key: content for key, content in actual.items() if layout.BLOBS not in key} == links
    # Garbage of the source need not be copied, and deletions there may leave garbage here.
    # The history of a tag may name manifests deleted long ago.
    linked = {layout.blob_data(Digest(content.decode())) for key, content in links.items() if "/index/" not in key}
    assert {key: expected[key] for key in linked} == {key: actual[key] for key in linked}
