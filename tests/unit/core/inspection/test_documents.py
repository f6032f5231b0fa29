"""Bounded reading of hostile JSON documents."""

import json
from datetime import UTC, datetime

import pytest

from core.inspection import documents
from core.inspection.documents import (
    DOCUMENT_LENGTH_MAX,
    ITEMS_MAX,
    LIST_LENGTH_MAX,
    Some,
    as_list,
    as_object,
    as_pairs,
    as_size,
    as_text,
    as_texts,
    as_time,
    formatted,
    read_object,
    take,
)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"null", b"\xff", b"[" * 400_000, b"[" * 5_000, b'{"a":' + b"1" * 5000]
)
def test_other_content_is_no_object(content):
    assert read_object(content) == {}


def test_object_is_read():
    assert read_object(b'{"a": 1}') == {"a": 1}


def test_values_of_a_wrong_type_are_empty():
    assert as_object([]) == {}
    assert as_list({}) == []
    values: list[object] = [None, True, [], {}, 1, 1.5, "x"]
    assert list(map(as_text, values)) == ["", "", "", "", "1", "1.5", "x"]
    assert [as_size(each) for each in (None, True, "1", -1, 2**63, 5)] == [0, 0, 0, 0, 0, 5]


def test_long_texts_are_cut_and_unpaired_surrogates_replaced():
    assert as_text("x" * 10, 5) == "xxxxx…"
    assert as_text("a\ud800") == "a�"


def test_texts_are_those_of_a_list_or_one_text():
    assert as_texts("x").items == ["x"]
    assert as_texts(["a", 1, None, "b"]).items == ["a", "b"]
    assert not as_texts({"a": 1})


def test_pairs_are_sorted_and_plain():
    assert list(as_pairs({"b": "2", "a": 1, "c": [], "d": True, "e": None})) == [("a", "1"), ("b", "2")]


def test_a_list_is_bounded_by_items_and_length():
    many = take(["x"] * (ITEMS_MAX + 5), len)
    assert (len(many.items), many.left_out) == (ITEMS_MAX, 5)
    long = take(["x" * LIST_LENGTH_MAX, "y"], len)
    assert (len(long.items), long.left_out) == (1, 1)
    assert len(take(["x" * (LIST_LENGTH_MAX + 1), "y"], len).items) == 1
    assert not Some()
    assert list(Some([1, 2])) == [1, 2]


def test_documents_are_formatted():
    assert formatted(b'{"a":"\xc3\xa9"}').text == '{\n  "a": "é"\n}'
    assert formatted(b"no json").text == "no json"
    assert formatted(b'{"a":"\\ud800"}').text == '{\n  "a": "�"\n}'


@pytest.mark.parametrize(
    "content", [b"x" * (DOCUMENT_LENGTH_MAX + 1), json.dumps(["y" * 100] * 1000).encode(), "é".encode() * 100_000]
)
def test_long_documents_are_cut(content):
    found = formatted(content)
    assert (len(found.text), found.is_cut) == (DOCUMENT_LENGTH_MAX, True)


def test_documents_with_too_many_parts_are_shown_as_they_are(monkeypatch):
    content = b'{"a":1}'
    monkeypatch.setattr(documents, "_FORMATTED_BYTES_MAX", 3)
    assert formatted(content).text == '{"a":1}'


def test_times_are_read():
    assert as_time("2026-01-02T03:04:05+01:00") == datetime(2026, 1, 2, 2, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize("value", [None, 7, "", "x", "2026-01-02", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-12:00"])
def test_other_values_are_no_times(value):
    assert as_time(value) is None
