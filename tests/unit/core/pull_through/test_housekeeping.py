"""Collection, verification, retention and copies of repositories whose content comes on demand."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.catalog_index.memory import InMemoryCatalogIndex
from adapters.image_layout.folder import FolderImageLayout
from adapters.upstream.memory import InMemoryUpstream
from core.model import media_types
from core.model.digest import Digest, StandardHasher
from core.model.events import Actor
from core.model.names import RepositoryName, Tag
from core.retention.rules import RetentionRule
from core.store import layout
from core.transfer.exporting import ExportRequest, ImageExport
from core.transfer.layout_index import read_images
from core.transfer.tally import Trouble
from core.verification.findings import Kind, Outcome
from core.verification.rules import VerificationRules
from tests.support.cached_services import NAME, REMOTE, CachedServices, add_image
from tests.support.content import image_index, image_manifest
from tests.support.core_services import in_turn
from tests.support.simulated_time import SimulatedTime
from tests.support.transfers import CopyRun
from tests.support.verifications import REPAIR, Verifications

TAG = Tag("3.20")
LOCAL = RepositoryName("team/app")


@dataclass
class Partly:
    """A cache that holds an index, one of its two images, and one of the blobs of that image."""

    cache: CachedServices
    index: Digest
    image: Digest
    other: bytes


@pytest.fixture
async def partly(cache: CachedServices, upstream: InMemoryUpstream) -> Partly:
    image, other = add_image(upstream, layer=b"layer"), add_image(upstream, layer=b"other layer")
    index = upstream.add_manifest(REMOTE, image_index([image, other]), media_types.OCI_INDEX, "3.20")
    await cache.manifests.get(NAME, TAG)
    await cache.manifests.get(NAME, Digest.of(image))
    await cache.push_blob(NAME, b"layer")
    return Partly(cache, index, Digest.of(image), other)


async def verifications(cache: CachedServices, **rules: Any) -> Verifications:
    index = InMemoryCatalogIndex()
    await index.add(NAME)
    return Verifications(cache, rules=VerificationRules(**{"is_cached": cache.origins.is_cached, **rules}), index=index)


async def test_absent_blobs_and_images_are_no_findings(partly: Partly):
    checked = await verifications(partly.cache)
    assert await checked.run(REPAIR) == []
    assert checked.counted.manifests == 2
    before = partly.cache.upstream.asked.copy()
    for reference in (TAG, partly.index, partly.image):
        await partly.cache.restarted().manifests.get(NAME, reference)
    assert partly.cache.upstream.asked == before


async def test_wrong_statements_of_an_upstream_are_no_findings(cache: CachedServices, upstream: InMemoryUpstream):
    layer = await cache.push_blob(NAME, b"layer")
    content = image_manifest(b"{}").replace(
        b'"layers": []', b'"layers": [{"digest": "%s", "size": 1}]' % layer.encode()
    )
    upstream.add_manifest(REMOTE, content, media_types.OCI_MANIFEST, "3.20")
    await cache.manifests.get(NAME, TAG)
    assert await (await verifications(cache)).run(REPAIR) == []


async def test_absent_blobs_are_findings_without_the_rule(partly: Partly):
    checked = await verifications(partly.cache, is_cached=lambda _name: False)
    assert set(await checked.kinds()) == {Kind.BLOB_LOST, Kind.CHILD_MISSING}


async def test_unlinked_blob_of_the_store_is_no_finding(partly: Partly):
    await partly.cache.push_blob(LOCAL, b"{}")
    assert await (await verifications(partly.cache)).run(REPAIR) == []
    assert layout.layer_link(NAME, Digest.of(b"{}")) not in await partly.cache.keys()


async def test_lost_manifest_leaves_the_cache_and_is_fetched_again(partly: Partly):
    await partly.cache.storage.delete([layout.blob_data(partly.index)])
    findings = await (await verifications(partly.cache)).run(REPAIR)
    assert {(finding.kind, finding.outcome) for finding in findings} == {
        (Kind.MANIFEST_LOST, Outcome.LOST),
        (Kind.TAG_WITHOUT_MANIFEST, Outcome.LOST),
        (Kind.LEFTOVER, Outcome.REMOVED),
    }
    assert await partly.cache.keys(layout.incomplete(NAME)) == set()
    assert (await partly.cache.restarted().manifests.get(NAME, TAG)).digest == partly.index
    assert await (await verifications(partly.cache)).run() == []


async def test_damaged_blob_is_quarantined_and_the_image_stays(partly: Partly):
    key = layout.blob_data(Digest.of(b"layer"))
    await partly.cache.storage.write(key, b"LAYER")
    findings = await (await verifications(partly.cache)).run(REPAIR)
    assert [(finding.kind, finding.outcome) for finding in findings] == [(Kind.CORRUPT_DATA, Outcome.QUARANTINED)]
    assert layout.revision_link(NAME, partly.image) in await partly.cache.keys(layout.revisions(NAME))


async def test_record_of_a_tag_that_another_registry_deleted_is_a_leftover(partly: Partly):
    await partly.cache.storage.delete_tree(layout.tag(NAME, TAG))
    [finding] = await (await verifications(partly.cache)).run(REPAIR)
    assert (finding.kind, finding.key, finding.outcome) == (
        Kind.LEFTOVER,
        layout.upstream_tag(NAME, TAG),
        Outcome.REMOVED,
    )
    assert await partly.cache.keys(layout.upstream(NAME)) == set()


async def test_copy_takes_what_is_complete_and_reports_the_rest(partly: Partly, time: SimulatedTime):
    cache = partly.cache
    whole = add_image(cache.upstream, "whole", layer=b"layer", config=b"[]")
    await cache.push_blob(NAME, b"[]")
    await cache.manifests.get(NAME, Tag("whole"))
    run = CopyRun(cache.storage, InMemoryBlobStorage(now=time.now))
    await run.once(is_cached=cache.origins.is_cached)
    [problem] = run.problems
    assert (problem.trouble, problem.repository) == (Trouble.INCOMPLETE, NAME)
    copied = {key async for key, _ in run.target.walk(layout.manifests(NAME))}
    assert layout.tag_current_link(NAME, TAG) in copied
    assert layout.tag_current_link(NAME, Tag("whole")) in copied
    assert layout.revision_link(NAME, Digest.of(whole)) in copied
    assert layout.revision_link(NAME, partly.image) not in copied
    assert {key async for key, _ in run.target.walk(layout.upstream(NAME))} == set()


async def test_copy_reports_a_tag_whose_image_is_incomplete(
    cache: CachedServices, upstream: InMemoryUpstream, time: SimulatedTime
):
    add_image(upstream, "3.20")
    await cache.manifests.get(NAME, TAG)
    run = CopyRun(cache.storage, InMemoryBlobStorage(now=time.now))
    await run.once(is_cached=cache.origins.is_cached)
    assert [problem.trouble for problem in run.problems] == [Trouble.INCOMPLETE, Trouble.INCOMPLETE]
    assert {key async for key, _ in run.target.walk(layout.manifests(NAME))} == set()


async def test_copy_passes_over_foreign_layers_and_old_manifests(
    cache: CachedServices, upstream: InMemoryUpstream, time: SimulatedTime
):
    old = b'{"schemaVersion": 1, "fsLayers": []}'
    foreign = {"digest": Digest.of(b"windows"), "size": 7, "urls": ["https://example.com/layer"]}
    content = image_manifest(b"{}").replace(b'"layers": []', b'"layers": [' + json.dumps(foreign).encode() + b"]")
    digests = [
        upstream.add_manifest(REMOTE, old, media_types.DOCKER_SCHEMA1),
        upstream.add_manifest(REMOTE, content, media_types.OCI_MANIFEST),
    ]
    await cache.push_blob(NAME, b"{}")
    for digest in digests:
        await cache.manifests.get(NAME, digest)
    run = CopyRun(cache.storage, InMemoryBlobStorage(now=time.now))
    await run.once(is_cached=cache.origins.is_cached)
    assert run.problems == []
    assert {key async for key, _ in run.target.walk(layout.revisions(NAME))} == {
        layout.revision_link(NAME, digest) for digest in digests
    }


async def test_retention_removes_tags_with_their_records(time: SimulatedTime, upstream: InMemoryUpstream):
    rules = [RetentionRule(repositories=("docker.io/**",), keep_last=1)]
    cache = CachedServices(time, upstream, core={"retention_rules": rules})
    for tag in ("old", "new"):
        add_image(upstream, tag, layer=tag.encode())
        await cache.manifests.get(NAME, Tag(tag))
        time.pass_seconds(60)
    registry = cache.registry(InMemoryCatalogIndex())
    [plan] = [plan async for plan in registry.apply_retention(by=Actor("retention"))]
    assert [state.tag for state in plan.removed] == ["old"]
    assert await cache.keys(layout.upstream(NAME)) == {layout.upstream_tag(NAME, Tag("new"))}
    assert (await cache.manifests.get(NAME, Tag("old"))).freshness is not None
    assert upstream.asked == {"resolve": 3, "manifest": 2}


async def test_export_takes_the_cached_tags_only(cache: CachedServices, upstream: InMemoryUpstream, tmp_path: Path):
    content = add_image(upstream, "cached", "other")
    await cache.manifests.get(NAME, Tag("cached"))
    for blob in (b"{}", b"layer"):
        await cache.push_blob(NAME, blob)
    async with FolderImageLayout(tmp_path / "layout", creates=True) as folder:
        export = ImageExport(
            cache.registry(InMemoryCatalogIndex()),
            folder,
            new_hasher=StandardHasher,
            offload=in_turn,
            observe=lambda _progress: None,
        )
        assert (await export.run([ExportRequest(name=NAME)])).images == 1
        [image] = await read_images(folder)
    assert image.descriptor.digest == Digest.of(content)
    assert not upstream.asked["tags"]
