"""Selection of the images to evict."""

from datetime import UTC, datetime, timedelta

from core.model.digest import Digest
from core.model.names import RepositoryName
from core.pull_through.selection import Eviction, choose
from core.pull_through.survey import CachedImage, Survey

NOW = datetime(2026, 11, 29, tzinfo=UTC)
SIZE = 100


def image(name: str, *blobs: str, days: int) -> CachedImage:
    return CachedImage(
        name=RepositoryName(name),
        digest=Digest.of(name.encode()),
        fetched_at=NOW - timedelta(days=days),
        last_used=NOW - timedelta(days=days),
        manifests=frozenset({Digest.of(name.encode())}),
        blobs=frozenset(Digest.of(blob.encode()) for blob in blobs),
    )


OLD, MIDDLE, NEW = image("old", "shared", days=9), image("middle", "shared", "big", days=5), image("new", days=1)


def survey(*images: CachedImage) -> Survey:
    digests = {digest for each in images for digest in each.content}
    return Survey(now=NOW, images=images, sizes=dict.fromkeys(digests, SIZE))


ALL = survey(NEW, OLD, MIDDLE)


def chosen(eviction: Eviction, *kept: CachedImage) -> list[CachedImage]:
    return list(choose(ALL, eviction, keeps=lambda each: each in kept))


def test_nothing_goes_without_a_condition() -> None:
    assert chosen(Eviction()) == []
    assert chosen(Eviction(size_max=ALL.size)) == []


def test_images_unused_for_long_go() -> None:
    limit = Eviction(unused_since=NOW - timedelta(days=3))
    assert chosen(limit) == [OLD, MIDDLE]
    assert chosen(limit, OLD) == [MIDDLE]


def test_images_go_by_last_use_until_the_cache_is_small_enough() -> None:
    assert ALL.size == 5 * SIZE
    assert chosen(Eviction(size_max=ALL.size - 1)) == [OLD]
    # The shared blob is free only when both have gone.
    assert chosen(Eviction(size_max=ALL.size - 2 * SIZE)) == [OLD, MIDDLE]
    assert chosen(Eviction(size_max=0)) == [OLD, MIDDLE, NEW]
    assert chosen(Eviction(size_max=0), MIDDLE) == [OLD, NEW]


def test_small_cache_keeps_its_images() -> None:
    assert chosen(Eviction(size_max=0, starts_above=ALL.size)) == []
    assert len(chosen(Eviction(size_max=0, starts_above=ALL.size - 1))) == 3


def test_images_go_until_enough_space_is_free() -> None:
    assert chosen(Eviction(bytes_to_free=1)) == [OLD]
    assert chosen(Eviction(bytes_to_free=SIZE + 1)) == [OLD, MIDDLE]


def test_named_image_goes_although_it_is_kept() -> None:
    assert chosen(Eviction(named=lambda each: each.name == "new"), NEW) == [NEW]


def test_image_has_the_size_of_its_content() -> None:
    assert ALL.size_of(MIDDLE) == 3 * SIZE
