"""The table of blobs with their sizes and holders."""

import pytest

from core.model.digest import Digest
from core.usage.blob_table import NOBODY, SEVERAL, BlobTable, KnownBlob

COUNT = 5_000


@pytest.fixture
def table():
    return BlobTable(0x9E3779B97F4A7C15)


def digest(number):
    return Digest.of(b"%d" % number)


def test_many_blobs_are_found_with_their_sizes(table):
    for number in range(COUNT):
        table.add(digest(number), number)
    assert all(table.get(digest(number)) == KnownBlob(number, NOBODY, 0) for number in range(COUNT))
    assert table.get(digest(COUNT)) is None
    found = [known.size for part in table.parts() for known in part]
    assert sorted(found) == list(range(COUNT))


def test_holders_and_flags_survive_the_growth_of_the_table(table):
    table.add(digest(0), 7)
    table.hold(digest(0), 3, 2)
    for number in range(1, COUNT):
        table.add(digest(number), 1)
    assert table.get(digest(0)) == KnownBlob(7, 3, 2)


def test_a_blob_of_two_repositories_is_held_by_several(table):
    table.add(digest(1), 1)
    for holder, expected in [(4, 4), (4, 4), (5, SEVERAL), (4, SEVERAL)]:
        table.hold(digest(1), holder, 1)
        assert table.get(digest(1)) == KnownBlob(1, expected, 1)


def test_a_blob_that_is_added_twice_counts_once(table):
    for size in (1, 2):
        table.add(digest(1), size)
    assert [known.size for part in table.parts() for known in part] == [2]


def test_digests_that_begin_with_zeros_are_found(table):
    first = Digest("sha256:" + "0" * 64)
    table.add(first, 9)
    assert table.get(first) == KnownBlob(9, NOBODY, 0)


def test_digests_chosen_to_collide_spread_over_the_table(table):
    chosen = [Digest(f"sha256:{number:05x}{'0' * 59}") for number in range(COUNT)]
    for size, each in enumerate(chosen):
        table.add(each, size)
    assert [table.get(each).size for each in chosen] == list(range(COUNT))
