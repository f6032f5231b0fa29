import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import PaginationInvalidError
from core.model.pagination import parse_page_size


@pytest.mark.parametrize(("text", "size"), [(None, None), ("", None), ("0", 0), ("007", 7), ("1" * 400, int("1" * 18))])
def test_page_size_is_parsed(text, size):
    assert parse_page_size(text) == size


@pytest.mark.parametrize("text", ["-1", "+1", " 1", "1_0", "1.0", "x", "٣", "²"])
def test_text_that_is_no_number_is_refused(text):
    with pytest.raises(PaginationInvalidError):
        parse_page_size(text)


@given(st.text())
def test_any_text_is_a_page_size_or_refused(text):
    try:
        size = parse_page_size(text)
    except PaginationInvalidError:
        return
    assert size is None or size >= 0
