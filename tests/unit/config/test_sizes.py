"""Sizes and shares of a disk, with units."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.sizes import format_size, format_space, parse_size, parse_space
from core.model.sizes import Space


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1234", 1234),
        ("10B", 10),
        ("500GB", 500 * 10**9),
        ("500 gb", 500 * 10**9),
        ("1.5TiB", 3 * 2**39),
        ("64mib", 64 * 2**20),
        ("1PB", 10**15),
    ],
)
def test_sizes_are_parsed(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1", "10G", "1e3", "10%", "10  GB", "1EB", "9999999999999999PB", "½GB"])
def test_other_texts_are_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "space"),
    [("10%", Space(percent=10)), ("2.5 %", Space(percent=2.5)), ("50GB", Space(bytes=50 * 10**9)), ("0", Space())],
)
def test_space_is_a_size_or_a_percentage(text: str, space: Space) -> None:
    assert parse_space(text) == space


@pytest.mark.parametrize("text", ["101%", "-1%", "%", "ten"])
def test_other_texts_are_no_space(text: str) -> None:
    with pytest.raises(ValueError, match="not a size"):
        parse_space(text)


@given(st.integers(min_value=0, max_value=2**60))
def test_sizes_are_shown_exactly(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("size", "shown"), [(0, "0"), (500 * 10**9, "500GB"), (2**34, "16GiB"), (1024, "1KiB"), (1234, "1234")]
)
def test_sizes_are_shown_with_the_largest_unit(size: int, shown: str) -> None:
    assert format_size(size) == shown


@pytest.mark.parametrize("text", ["10%", "2.5%", "50GB", "0"])
def test_space_is_shown_as_written(text: str) -> None:
    assert format_space(parse_space(text)) == text
