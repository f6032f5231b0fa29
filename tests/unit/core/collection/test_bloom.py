"""The filter never forgets, is seldom wrong, and can be saved."""

import zlib

import pytest

from core.collection.bloom import BloomFilter


def test_members_are_never_missed():
    found = BloomFilter(b"k", size=1024)
    for number in range(5000):
        found.add(str(number))
    assert all(str(number) in found for number in range(5000))


def test_non_members_rarely_match():
    found = BloomFilter(b"k", size=16 * 1024)
    for number in range(10_000):
        found.add(str(number))
    assert sum(f"other {number}" in found for number in range(10_000)) < 100


def test_false_matches_depend_on_the_key():
    mistakes = []
    for key in (b"one", b"two"):
        found = BloomFilter(key, size=128)
        for number in range(150):
            found.add(str(number))
        mistakes.append({number for number in range(5000) if f"other {number}" in found})
    assert mistakes[0]
    assert mistakes[1]
    assert mistakes[0] != mistakes[1]


def test_saved_filter_has_the_same_members():
    saved = BloomFilter(b"k", size=4096)
    saved.add("a")
    loaded = BloomFilter.load(b"k", saved.dump())
    assert "a" in loaded
    assert "b" not in loaded
    with pytest.raises(zlib.error):
        BloomFilter.load(b"k", b"nonsense")
