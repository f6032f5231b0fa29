"""Referrers in cached repositories: merging, memory, pages, and failing upstreams."""

from collections.abc import AsyncIterator

import pytest

from adapters.upstream.memory import InMemoryUpstream
from core.errors import DeniedError, UpstreamAbsentError, UpstreamUnavailableError
from core.model import media_types
from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.pull_through.referrers import REFERRERS_MAX
from core.pull_through.rules import UpstreamRules
from core.typing import override
from tests.support.cached_services import NAME, REMOTE, CachedServices
from tests.support.content import descriptor, image_manifest
from tests.support.simulated_time import SimulatedTime

SUBJECT = image_manifest(b"{}", [b"layer"])
DIGEST = Digest.of(SUBJECT)
DOWN = UpstreamUnavailableError("docker.io cannot be reached")


def signature(text: str, artifact_type: str = "application/x-signature") -> bytes:
    subject = descriptor(SUBJECT, media_types.OCI_MANIFEST)
    return image_manifest(subject=subject, artifactType=artifact_type, annotations={"text": text})


def add(upstream: InMemoryUpstream, *contents: bytes) -> list[Digest]:
    return sorted(upstream.add_manifest(REMOTE, content, media_types.OCI_MANIFEST) for content in contents)


async def listed(cache: CachedServices, artifact_type: str | None = None) -> list[Digest]:
    return [each.digest for each in (await cache.referrers.page(NAME, DIGEST, artifact_type=artifact_type)).items]


async def push(cache: CachedServices, content: bytes) -> Digest:
    """Store a referrer that the upstream does not have."""
    await cache.push_blob(NAME, b"{}")
    return (await cache.plain_manifests.put(NAME, content, media_types.OCI_MANIFEST)).digest


async def test_upstream_and_stored_referrers_are_merged(cache: CachedServices, upstream: InMemoryUpstream):
    found = add(upstream, signature("a"), signature("b", "application/x-sbom"))
    own = await push(cache, signature("own"))
    await push(cache, signature("a"))
    assert await listed(cache) == sorted([*found, own])
    assert await listed(cache, "application/x-sbom") == [Digest.of(signature("b", "application/x-sbom"))]
    assert upstream.asked["referrers"] == 1


async def test_fetched_referrer_is_stored_with_its_link(
    cache: CachedServices, upstream: InMemoryUpstream, time: SimulatedTime
):
    digests = add(upstream, signature("a"), signature("b"))
    await cache.manifests.get(NAME, digests[0])
    upstream.failure = DOWN
    assert await listed(cache.restarted()) == digests[:1]
    del time


async def test_list_is_remembered_and_survives_a_failure(
    cache: CachedServices, upstream: InMemoryUpstream, time: SimulatedTime
):
    digests = add(upstream, signature("a"))
    for _ in range(3):
        assert await listed(cache) == digests
    assert upstream.asked["referrers"] == 1
    time.pass_seconds(60)
    upstream.failure = DOWN
    for _ in range(3):
        assert await listed(cache) == digests
    assert upstream.asked["referrers"] == 2


async def test_failure_without_stored_referrers_is_reported(cache: CachedServices, upstream: InMemoryUpstream):
    upstream.failure = DOWN
    for _ in range(3):
        with pytest.raises(UpstreamUnavailableError):
            await listed(cache)
    assert upstream.asked["referrers"] == 1
    assert not (await cache.referrers.page(NAME, DIGEST, last="sha256:f")).items


async def test_pages_are_cut_across_both_sources(cache: CachedServices, upstream: InMemoryUpstream):
    expected = add(upstream, *(signature(str(number)) for number in range(12)))
    for number in range(100, 108):
        expected.append(await push(cache, signature(str(number))))
    found: list[str] = []
    has_more = True
    while has_more:
        page = await cache.referrers.page(NAME, DIGEST, n=3, last=found[-1] if found else "")
        assert len(page.items) <= 3
        found += [each.digest for each in page.items]
        has_more = page.has_more
    assert found == sorted(expected)
    assert not (await cache.referrers.page(NAME, DIGEST, n=0)).items


async def test_page_has_no_more_bytes_than_a_manifest(cache: CachedServices, upstream: InMemoryUpstream):
    add(upstream, *(signature(letter * 1_500_000) for letter in "abc"))
    page = await cache.referrers.page(NAME, DIGEST)
    assert (len(page.items), page.has_more) == (2, True)


class EagerUpstream(InMemoryUpstream):
    """Sends referrers without an end, or refuses them."""

    is_absent = False

    @override
    async def referrers(
        self, name: str, subject: Digest, *, artifact_type: str | None = None
    ) -> AsyncIterator[Descriptor]:
        self._ask("referrers")
        number = 0
        while True:
            if self.is_absent:
                raise UpstreamAbsentError("no such repository")
            number += 1
            yield Descriptor(media_type=media_types.OCI_MANIFEST, digest=Digest.of(b"%d" % number), size=1)


async def test_number_of_referrers_is_bounded(time: SimulatedTime):
    cache = CachedServices(time, EagerUpstream("docker.io"))
    found: list[str] = []
    has_more = True
    while has_more:
        page = await cache.referrers.page(NAME, DIGEST, last=found[-1] if found else "")
        found += [each.digest for each in page.items]
        has_more = page.has_more
    assert len(found) == REFERRERS_MAX


async def test_absent_repository_has_no_referrers(time: SimulatedTime):
    upstream = EagerUpstream("docker.io")
    upstream.is_absent = True
    cache = CachedServices(time, upstream)
    for _ in range(2):
        assert await listed(cache) == []
    assert upstream.asked["referrers"] == 1
    time.pass_seconds(30)
    assert await listed(cache) == []
    assert upstream.asked["referrers"] == 2


async def test_rules_may_exclude_referrers_or_repositories(time: SimulatedTime, upstream: InMemoryUpstream):
    add(upstream, signature("a"))
    off = CachedServices(time, upstream, rules=UpstreamRules(prefix="docker.io", referrers=False))
    assert await listed(off) == []
    denied = CachedServices(time, upstream, rules=UpstreamRules(prefix="docker.io", deny=("library/*",)))
    with pytest.raises(DeniedError):
        await listed(denied)
    assert not upstream.asked


async def test_local_repository_is_listed_as_without_a_cache(cache: CachedServices, upstream: InMemoryUpstream):
    assert not (await cache.referrers.page(RepositoryName("team/app"), DIGEST)).items
    assert not upstream.asked
    await cache.referrers.close()
