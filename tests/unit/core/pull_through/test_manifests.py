"""Manifests of cached repositories: freshness, single flight and the classes of answers."""

import asyncio
import json

import pytest

from adapters.upstream.memory import InMemoryUpstream
from core.errors import (
    DeniedError,
    ManifestUnknownError,
    UpstreamAbsentError,
    UpstreamBusyError,
    UpstreamError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from core.model import media_types
from core.model.digest import Digest
from core.model.freshness import CacheOutcome, Freshness
from core.model.manifest import StoredManifest
from core.model.names import Reference, RepositoryName, Tag
from core.ports.upstream import UpstreamManifest, UpstreamTag
from core.pull_through.rules import UpstreamRules
from core.store import layout
from core.typing import override
from tests.support.cached_services import NAME, REMOTE, CachedServices, add_image
from tests.support.content import image_manifest
from tests.support.simulated_time import SimulatedTime

TAG = Tag("3.20")
DOWN = UpstreamUnavailableError("docker.io cannot be reached")
BUSY = UpstreamBusyError("docker.io: too many requests", retry_after=60)


def freshness(manifest: StoredManifest) -> Freshness:
    assert manifest.freshness is not None
    return manifest.freshness


def outcome(manifest: StoredManifest) -> CacheOutcome:
    return freshness(manifest).outcome


async def test_unknown_tag_costs_one_question_and_one_fetch(cache: CachedServices, upstream: InMemoryUpstream):
    content = add_image(upstream, "3.20")
    manifest = await cache.manifests.get(NAME, TAG)
    assert (manifest.content, manifest.media_type) == (content, media_types.OCI_MANIFEST)
    assert freshness(manifest) == Freshness(outcome=CacheOutcome.MISS, ttl_seconds=60, status=200)
    assert upstream.asked == {"resolve": 1, "manifest": 1}


async def test_hundred_pulls_within_the_period_cost_one_question(
    cache: CachedServices, upstream: InMemoryUpstream, time: SimulatedTime
):
    content = add_image(upstream, "3.20")
    for _ in range(50):
        assert (await cache.manifests.get(NAME, TAG)).content == content
        assert (await cache.manifests.get(NAME, Digest.of(content))).content == content
        time.pass_seconds(1)
    assert upstream.asked == {"resolve": 1, "manifest": 1}
    hit = await cache.manifests.get(NAME, TAG)
    assert freshness(hit) == Freshness(outcome=CacheOutcome.HIT, ttl_seconds=10)
    by_digest = await cache.manifests.get(NAME, Digest.of(content))
    assert freshness(by_digest) == Freshness(outcome=CacheOutcome.HIT)


async def test_unchanged_tag_costs_a_question_without_a_fetch(
    cache: CachedServices, upstream: InMemoryUpstream, time: SimulatedTime
):
    add_image(upstream, "3.20")
    await cache.manifests.get(NAME, TAG)
    time.pass_seconds(60)
    manifest = await cache.manifests.get(NAME, TAG)
    assert freshness(manifest) == Freshness(outcome=CacheOutcome.REVALIDATED, ttl_seconds=60, status=304)
    assert outcome(await cache.manifests.get(NAME, TAG)) is CacheOutcome.HIT
    assert upstream.asked == {"resolve": 2, "manifest": 1}


async def test_moved_tag_is_fetched_and_its_old_target_stays(
    cache: CachedServices, upstream: InMemoryUpstream, time: SimulatedTime
):
    old = add_image(upstream, "3.20")
    await cache.manifests.get(NAME, TAG)
    new = add_image(upstream, "3.20", layer=b"new")
    assert (await cache.manifests.get(NAME, TAG)).content == old
    time.pass_seconds(60)
    manifest = await cache.manifests.get(NAME, TAG)
    assert (manifest.content, outcome(manifest)) == (new, CacheOutcome.MISS)
    assert (await cache.manifests.get(NAME, Digest.of(old))).content == old
    assert upstream.asked == {"resolve": 2, "manifest": 2}


async def test_tag_that_moves_back_is_not_fetched_again(
    cache: CachedServices, upstream: InMemoryUpstream, time: SimulatedTime
):
    old = add_image(upstream, "3.20")
    await cache.manifests.get(NAME, TAG)
    add_image(upstream, "3.20", layer=b"new")
    time.pass_seconds(60)
    await cache.manifests.get(NAME, TAG)
    add_image(upstream, "3.20")
    time.pass_seconds(60)
    manifest = await cache.manifests.get(NAME, TAG)
    assert (manifest.content, outcome(manifest)) == (old, CacheOutcome.REVALIDATED)
    assert freshness(manifest).status == 200
    assert upstream.asked["manifest"] == 2


async def test_head_then_get_by_digest_leaves_the_tag_cached(cache: CachedServices, upstream: InMemoryUpstream):
    content = add_image(upstream, "3.20")
    described = await cache.manifests.describe(NAME, TAG)
    assert (await cache.manifests.get(NAME, described.digest)).content == content
    upstream.failure = DOWN
    assert (await cache.manifests.get(NAME, TAG)).content == content
    assert upstream.asked == {"resolve": 1, "manifest": 1}


async def test_every_pull_is_checked_without_a_period(time: SimulatedTime, upstream: InMemoryUpstream):
    cache = CachedServices(time, upstream, rules=UpstreamRules(prefix="docker.io", recheck_seconds=0))
    add_image(upstream, "3.20")
    for _ in range(3):
        await cache.manifests.get(NAME, TAG)
    assert upstream.asked == {"resolve": 3, "manifest": 1}


async def test_concurrent_pulls_ask_once(cache: CachedServices, upstream: InMemoryUpstream):
    content = add_image(upstream, "3.20")
    async with asyncio.TaskGroup() as group:
        pulls = [group.create_task(cache.manifests.get(NAME, TAG)) for _ in range(20)]
        pulls += [group.create_task(cache.manifests.get(NAME, Digest.of(content))) for _ in range(20)]
    assert {pull.result().content for pull in pulls} == {content}
    assert upstream.asked == {"resolve": 1, "manifest": 1}


async def test_other_worker_follows_the_record(cache: CachedServices, upstream: InMemoryUpstream, time: SimulatedTime):
    add_image(upstream, "3.20")
    await cache.manifests.get(NAME, TAG)
    other = cache.restarted()
    assert outcome(await other.manifests.get(NAME, TAG)) is CacheOutcome.HIT
    time.pass_seconds(60)
    await other.manifests.get(NAME, TAG)
    assert outcome(await cache.manifests.get(NAME, TAG)) is CacheOutcome.HIT
    assert upstream.asked == {"resolve": 2, "manifest": 1}


async def test_restart_with_a_failing_upstream_serves_stale_tags(
    cache: CachedServices, upstream: InMemoryUpstream, time: SimulatedTime
):
    content = add_image(upstream, "3.20")
    await cache.manifests.get(NAME, TAG)
    time.pass_seconds(3600)
    upstream.failure = UpstreamTimeoutError("no answer")
    manifest = await cache.restarted().manifests.get(NAME, TAG)
    assert manifest.content == content
    assert freshness(manifest) == Freshness(outcome=CacheOutcome.STALE, ttl_seconds=60 - 3600)


async def test_stale_tag_is_served_only_for_its_time(
    cache: CachedServices, upstream: InMemoryUpstream, time: SimulatedTime
):
    add_image(upstream, "3.20")
    await cache.manifests.get(NAME, TAG)
    time.pass_seconds(720 * 3600 + 1)
    upstream.failure = DOWN
    with pytest.raises(UpstreamUnavailableError):
        await cache.manifests.get(NAME, TAG)


@pytest.mark.parametrize("failure", [DOWN, UpstreamTimeoutError("slow"), UpstreamError("unusable")])
async def test_failure_without_stored_content_is_no_absence(
    cache: CachedServices, upstream: InMemoryUpstream, failure: UpstreamError
):
    upstream.failure = failure
    for reference in (TAG, Digest.of(b"x")):
        with pytest.raises(type(failure)):
            await cache.manifests.get(NAME, reference)


async def test_failed_question_is_not_repeated_in_the_pause(
    cache: CachedServices, upstream: InMemoryUpstream, time: SimulatedTime
):
    upstream.failure = DOWN
    for _ in range(5):
        for reference in (TAG, Digest.of(b"x")):
            with pytest.raises(UpstreamUnavailableError):
                await cache.manifests.get(NAME, reference)
    assert upstream.asked == {"resolve": 1, "manifest": 1}
    time.pass_seconds(10)
    upstream.failure = None
    add_image(upstream, "3.20")
    assert outcome(await cache.manifests.get(NAME, TAG)) is CacheOutcome.MISS


async def test_stale_pulls_do_not_ask_in_the_pause(
    cache: CachedServices, upstream: InMemoryUpstream, time: SimulatedTime
):
    add_image(upstream, "3.20", "edge")
    for tag in ("3.20", "edge"):
        await cache.manifests.get(NAME, Tag(tag))
    time.pass_seconds(60)
    upstream.failure = DOWN
    for tag in ("3.20", "edge", "3.20"):
        assert outcome(await cache.manifests.get(NAME, Tag(tag))) is CacheOutcome.STALE
    assert upstream.asked["resolve"] == 3
    time.pass_seconds(10)
    upstream.failure = None
    assert outcome(await cache.manifests.get(NAME, TAG)) is CacheOutcome.REVALIDATED


async def test_rate_limit_is_obeyed(cache: CachedServices, upstream: InMemoryUpstream, time: SimulatedTime):
    content = add_image(upstream, "3.20")
    await cache.manifests.get(NAME, TAG)
    time.pass_seconds(60)
    upstream.failure = BUSY
    asked = None
    for second in range(60):
        manifest = await cache.manifests.get(NAME, TAG)
        assert (manifest.content, outcome(manifest)) == (content, CacheOutcome.STALE)
        assert freshness(manifest).status == 429
        for reference in (Tag("other"), Digest.of(b"x")):
            with pytest.raises(UpstreamBusyError) as caught:
                await cache.manifests.get(NAME, reference)
            assert caught.value.retry_after == 60 - second
        asked = asked or upstream.asked.copy()
        assert upstream.asked == asked
        time.pass_seconds(1)
    upstream.failure = None
    assert outcome(await cache.manifests.get(NAME, TAG)) is CacheOutcome.REVALIDATED


async def test_absence_is_remembered(cache: CachedServices, upstream: InMemoryUpstream, time: SimulatedTime):
    for _ in range(3):
        for reference in (TAG, Digest.of(b"x")):
            with pytest.raises(ManifestUnknownError):
                await cache.manifests.get(NAME, reference)
    assert upstream.asked == {"resolve": 1, "manifest": 1}
    add_image(upstream, "3.20")
    time.pass_seconds(30)
    assert outcome(await cache.manifests.get(NAME, TAG)) is CacheOutcome.MISS


async def test_tag_deleted_upstream_is_absent_but_its_content_stays(
    cache: CachedServices, upstream: InMemoryUpstream, time: SimulatedTime
):
    content = add_image(upstream, "3.20")
    await cache.manifests.get(NAME, TAG)
    upstream.remove_tag(REMOTE, "3.20")
    time.pass_seconds(60)
    for process in (cache, cache, cache.restarted()):
        with pytest.raises(ManifestUnknownError):
            await process.manifests.get(NAME, TAG)
    assert upstream.asked["resolve"] == 2
    time.pass_seconds(30)
    upstream.failure = DOWN
    with pytest.raises(UpstreamUnavailableError):
        await cache.manifests.get(NAME, TAG)
    assert (await cache.manifests.get(NAME, Digest.of(content))).content == content
    time.pass_seconds(10)
    upstream.failure = None
    add_image(upstream, "3.20")
    assert outcome(await cache.manifests.get(NAME, TAG)) is CacheOutcome.REVALIDATED
    assert outcome(await cache.manifests.get(NAME, TAG)) is CacheOutcome.HIT
    assert upstream.asked["manifest"] == 1


async def test_new_tag_of_a_digest_that_was_absent_is_served(cache: CachedServices, upstream: InMemoryUpstream):
    content = image_manifest(b"{}", [b"layer"])
    with pytest.raises(ManifestUnknownError):
        await cache.manifests.get(NAME, Digest.of(content))
    assert add_image(upstream, "3.20") == content
    assert (await cache.manifests.get(NAME, TAG)).content == content
    assert outcome(await cache.manifests.get(NAME, Digest.of(content))) is CacheOutcome.HIT


class TornUpstream(InMemoryUpstream):
    """Has tags whose manifests it does not give."""

    torn: Digest
    error: UpstreamError

    @override
    async def manifest(self, name: str, reference: Reference) -> UpstreamManifest:
        found = await super().manifest(name, reference)
        if found.digest == self.torn:
            raise self.error
        return found


@pytest.mark.parametrize("error", [UpstreamAbsentError("not here"), UpstreamTimeoutError("slow")])
async def test_tag_without_its_manifest_is_a_failure_of_the_upstream(time: SimulatedTime, error: UpstreamError):
    upstream = TornUpstream("docker.io")
    cache = CachedServices(time, upstream)
    old = add_image(upstream, "3.20")
    upstream.torn, upstream.error = Digest.of(b""), error
    await cache.manifests.get(NAME, TAG)
    upstream.torn = Digest.of(add_image(upstream, "3.20", "new", layer=b"new"))
    time.pass_seconds(60)
    for _ in range(3):
        manifest = await cache.manifests.get(NAME, TAG)
        assert (manifest.content, outcome(manifest)) == (old, CacheOutcome.STALE)
    time.pass_seconds(10)
    for _ in range(3):
        with pytest.raises(UpstreamUnavailableError):
            await cache.manifests.get(NAME, Tag("new"))
    assert upstream.asked == {"resolve": 3, "manifest": 3}


class IdleUpstream(InMemoryUpstream):
    """Calls every tag unchanged."""

    @override
    async def resolve(self, name: str, tag: Tag, *, etag: str | None = None) -> UpstreamTag | None:
        return None


async def test_unchanged_answer_without_a_reason_is_a_failure(time: SimulatedTime):
    with pytest.raises(UpstreamUnavailableError):
        await CachedServices(time, IdleUpstream("docker.io")).manifests.get(NAME, TAG)


async def test_repository_that_the_rules_deny_is_not_served(
    cache: CachedServices, upstream: InMemoryUpstream, time: SimulatedTime
):
    content = add_image(upstream, "3.20")
    await cache.manifests.get(NAME, TAG)
    rules = UpstreamRules(prefix="docker.io", deny=("library/*",))
    denied = CachedServices(time, upstream, storage=cache.storage, rules=rules)
    for reference in (TAG, Digest.of(content)):
        with pytest.raises(DeniedError):
            await denied.manifests.get(NAME, reference)


async def test_local_repository_is_served_as_without_a_cache(cache: CachedServices, upstream: InMemoryUpstream):
    local = RepositoryName("team/app")
    await cache.push_blob(local, b"{}")
    content = image_manifest(b"{}")
    await cache.manifests.put(local, content, media_types.OCI_MANIFEST, tags=[TAG])
    for found in (await cache.manifests.get(local, TAG), await cache.manifests.describe(local, TAG)):
        assert (found.content, found.freshness) == (content, None)
    assert list(await cache.manifests.delete(local, TAG)) == [TAG]
    with pytest.raises(ManifestUnknownError):
        await cache.manifests.get(local, TAG)
    assert not upstream.asked


async def test_deleted_tag_loses_its_record(cache: CachedServices, upstream: InMemoryUpstream):
    content = add_image(upstream, "a", "b", "c")
    for tag in ("a", "b", "c"):
        await cache.manifests.get(NAME, Tag(tag))
    await cache.manifests.delete(NAME, Tag("a"))
    await cache.manifests.delete_tags(NAME, {Tag("b"): Digest.of(content)})
    assert await cache.keys(layout.upstream(NAME)) == {layout.upstream_tag(NAME, Tag("c"))}
    await cache.manifests.delete(NAME, Digest.of(content))
    assert await cache.keys(layout.upstream(NAME)) == set()
    assert outcome(await cache.manifests.get(NAME, Tag("a"))) is CacheOutcome.MISS


async def test_tag_that_another_program_removed_is_asked_for(cache: CachedServices, upstream: InMemoryUpstream):
    content = add_image(upstream, "3.20")
    await cache.manifests.get(NAME, TAG)
    await cache.storage.delete_tree(layout.tag(NAME, TAG))
    assert (await cache.manifests.get(NAME, TAG)).content == content
    assert upstream.asked == {"resolve": 2, "manifest": 1}


async def test_cache_of_distribution_is_taken_over(
    cache: CachedServices, upstream: InMemoryUpstream, time: SimulatedTime
):
    content = add_image(upstream, "3.20")
    await cache.push_blob(NAME, b"{}")
    await cache.push_blob(NAME, b"layer")
    await cache.plain_manifests.put(NAME, content, media_types.OCI_MANIFEST, tags=[TAG])
    time.pass_seconds(3600)
    upstream.failure = DOWN
    manifest = await cache.manifests.get(NAME, TAG)
    assert freshness(manifest) == Freshness(outcome=CacheOutcome.STALE, ttl_seconds=60 - 3600)
    time.pass_seconds(10)
    upstream.failure = None
    assert freshness(await cache.manifests.get(NAME, TAG)).status == 200
    assert upstream.asked == {"resolve": 2}


async def test_manifest_whose_data_is_gone_or_damaged_is_fetched_again(
    cache: CachedServices, upstream: InMemoryUpstream, time: SimulatedTime
):
    content = add_image(upstream, "3.20")
    await cache.manifests.get(NAME, TAG)
    data = layout.blob_data(Digest.of(content))
    for damage in (cache.storage.delete([data]), cache.storage.write(data, b"{}")):
        await damage
        process = cache.restarted()
        manifest = await process.manifests.get(NAME, TAG)
        assert (manifest.content, outcome(manifest)) == (content, CacheOutcome.MISS)
        assert await cache.storage.read(data) == content
    await cache.storage.delete([data])
    time.pass_seconds(60)
    upstream.failure = DOWN
    with pytest.raises(UpstreamUnavailableError):
        await cache.restarted().manifests.get(NAME, TAG)


async def test_blobs_of_served_manifests_are_claimed(cache: CachedServices, upstream: InMemoryUpstream):
    add_image(upstream, "3.20")
    wanted = [(NAME, Digest.of(b"{}"), 2), (NAME, Digest.of(b"layer"), 5)]
    for pulls in (1, 2):
        await cache.manifests.get(NAME, TAG)
        assert cache.claimed == wanted * pulls


async def test_blobs_of_a_manifest_with_many_layers_are_claimed(cache: CachedServices, upstream: InMemoryUpstream):
    content = image_manifest(b"{}", [b"%d" % number for number in range(200)])
    digest = upstream.add_manifest(REMOTE, content, media_types.OCI_MANIFEST)
    for pulls in (1, 2):
        await cache.manifests.get(NAME, digest)
        assert len(cache.claimed) == pulls * 201


async def test_blobs_of_many_manifests_are_read_again(cache: CachedServices, upstream: InMemoryUpstream):
    for number in range(513):
        content = json.dumps({"schemaVersion": 1, "name": str(number)}).encode()
        await cache.manifests.get(NAME, upstream.add_manifest(REMOTE, content, media_types.DOCKER_SCHEMA1))
    assert cache.claimed == []
