"""Pages of sorted lists: order, markers, and complete reads while the list changes."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InvalidInputError, PaginationInvalidError
from core.summaries.paging import Cut, KeyKind, SortedNames, Sorting, microseconds, version_of

NAMES = st.text("abc-._", min_size=1, max_size=3)
VALUES = st.none() | st.integers(-3, 3)
LISTS = st.dictionaries(NAMES, VALUES, max_size=12)


def ordered(values, kind=KeyKind.NUMBER, *, descending=False):
    return SortedNames(values.items(), kind, is_descending=descending)


def forwards(lists, n, kind, *, descending):
    """Read all pages; each list of `lists` is the state at the time of one page, the last one of all further pages."""
    names, last = [], ""
    for number in range(100):
        state = ordered(lists[min(number, len(lists) - 1)], kind, descending=descending)
        page = state.page(Cut(n=n, last=last), size_max=1000)
        names += page.names
        if page.following is None:
            return names
        last = page.following
    raise AssertionError("the list does not end")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", Sorting("a")), ("a", Sorting("a")), ("b", Sorting("b")), ("-b", Sorting("b", is_descending=True))],
)
def test_order_is_parsed(text, expected):
    assert Sorting.parse(text, ("a", "b")) == expected


@pytest.mark.parametrize("text", ["c", "-", "--a", "A", "a-", " a"])
def test_unknown_order_is_refused(text):
    with pytest.raises(InvalidInputError, match="sort must be one of a, b"):
        Sorting.parse(text, ("a", "b"))


def test_a_page_has_one_marker():
    with pytest.raises(PaginationInvalidError):
        Cut(last="a", before="b")


@pytest.mark.parametrize(
    ("descending", "expected"), [(False, ["x", "b", "c", "a", "y"]), (True, ["b", "c", "x", "a", "y"])]
)
def test_ties_follow_by_name_and_absent_values_come_last(descending, expected):
    values = {"y": None, "c": 2, "b": 2, "x": 1, "a": None}
    assert forwards([values], 2, KeyKind.NUMBER, descending=descending) == expected


@pytest.mark.parametrize(
    ("descending", "expected"),
    [
        (False, ["1.2.0-rc.2", "1.2.0", "v1.2.0", "1.10.0", "1.2", "latest"]),
        (True, ["1.10.0", "1.2.0", "v1.2.0", "1.2.0-rc.2", "1.2", "latest"]),
    ],
)
@pytest.mark.parametrize("n", [1, 2, 10])
def test_versions_are_ordered_by_precedence(n, descending, expected):
    values = {tag: version_of(tag) for tag in sorted(expected)}
    assert forwards([values], n, KeyKind.VERSION, descending=descending) == expected


def test_a_version_has_a_bounded_length():
    assert version_of("1.0.0-" + "a" * 200) is None


def test_markers_of_names_are_any_text():
    names = ordered({"a": "a", "c": "c"}, KeyKind.NAME)
    assert names.page(Cut(last="b|\n"), size_max=9).names == ["c"]
    assert names.page(Cut(before="b"), size_max=9).names == ["a"]


def test_markers_contain_value_and_name():
    page = ordered({"a": 1, "b": 7, "c": 7, "d": None}).page(Cut(n=1, last="1|a"), size_max=9)
    assert (page.names, page.previous, page.following) == (["b"], "7|b", "7|b")
    page = ordered({"a": 1, "d": None}).page(Cut(n=1, before="|e"), size_max=9)
    assert (page.names, page.previous, page.following) == (["d"], "|d", None)


def test_markers_of_deleted_items_still_name_a_place():
    names = ordered({"a": 1, "d": 8})
    assert names.page(Cut(last="7|b"), size_max=9).names == ["d"]
    page = names.page(Cut(before="7|b"), size_max=9)
    assert (page.names, page.following) == (["a"], "1|a")


@pytest.mark.parametrize("marker", ["a", "|", "1|", "x|a", "1|a|x", "1.0|a", "+1|a", "1|a b", "٣|a", "9" * 31 + "|a"])
def test_malformed_marker_is_refused(marker):
    for cut in (Cut(last=marker), Cut(before=marker)):
        with pytest.raises(PaginationInvalidError):
            ordered({"a": 1}).page(cut, size_max=9)


def test_page_size_is_bounded():
    values = {f"{number:04}": number for number in range(300)}
    sizes = [len(ordered(values).page(Cut(n=n), size_max=200).names) for n in (None, 0, 1, 150, 10**17)]
    assert sizes == [100, 0, 1, 150, 200]
    assert len(ordered(values).page(Cut(), size_max=50).names) == 50


def test_empty_page_has_no_markers():
    page = ordered({"a": 1}).page(Cut(n=0), size_max=9)
    assert (page.names, page.previous, page.following) == ([], None, None)


def test_hidden_names_take_no_place():
    values = {name: index for index, name in enumerate("abcdef")}
    page = ordered(values).page(Cut(n=2, last="1|b"), size_max=9, shows=lambda name: name in "bdf")
    assert (page.names, page.previous, page.following) == (["d", "f"], "3|d", None)


@given(LISTS, st.integers(1, 5), st.booleans(), st.sampled_from([KeyKind.NUMBER, KeyKind.TIME]))
def test_union_of_pages_is_the_list_in_both_directions(values, n, descending, kind):
    names = forwards([values], n, kind, descending=descending)
    assert sorted(names) == sorted(values)
    present = [values[name] for name in names if values[name] is not None]
    assert present == sorted(present, reverse=descending)
    state = ordered(values, kind, descending=descending)
    page = state.page(Cut(n=n, last=_last_marker(state)), size_max=99) if values else state.page(Cut(), size_max=99)
    backwards = list(page.names)
    while page.previous is not None:
        page = state.page(Cut(n=n, before=page.previous), size_max=99)
        assert page.following is not None
        backwards = [*page.names, *backwards]
    assert backwards == names


def _last_marker(state):
    """The marker of the last but one item, so that the page after it is the last one; empty for a single item."""
    page = state.page(Cut(n=max(1, len(state) - 1)), size_max=99)
    return page.following or ""


@settings(max_examples=50)
@given(st.lists(LISTS, min_size=2, max_size=5), LISTS, st.integers(1, 4), st.booleans(), st.booleans())
def test_items_that_do_not_change_appear_exactly_once(changing, lasting, n, descending, is_by_name):
    kind = KeyKind.NAME if is_by_name else KeyKind.NUMBER
    states = [{name: name if is_by_name else value for name, value in (state | lasting).items()} for state in changing]
    names = forwards(states, n, kind, descending=descending)
    for name in lasting:
        assert names.count(name) == 1


@given(st.data(), st.integers(1, 3), st.booleans())
def test_a_list_by_time_shows_no_item_twice_while_items_are_pushed(data, n, descending):
    clock, current = 10, dict(data.draw(st.dictionaries(NAMES, st.integers(0, 10), min_size=1, max_size=8)))
    lasting = dict(current)
    states = [dict(current)]
    for _ in range(6):
        for name in data.draw(st.lists(NAMES, max_size=3)):
            clock += 1
            current[name] = clock
            lasting.pop(name, None)
        for name in data.draw(st.lists(NAMES, max_size=1)):
            current.pop(name, None)
            lasting.pop(name, None)
        states.append(dict(current))
    names = forwards(states, n, KeyKind.TIME, descending=descending)
    assert len(names) == len(set(names))
    assert set(lasting) <= set(names)


def test_a_list_by_ascending_time_ends_while_pushes_go_on():
    first = {"a": 1, "b": 2, "c": None}
    page = ordered(first, KeyKind.TIME).page(Cut(n=1), size_max=9)
    assert (page.names, page.following) == (["a"], "1|a|2")
    later = ordered({"a": 3, "b": 2, "c": None, "d": 4}, KeyKind.TIME)
    page = later.page(Cut(n=1, last="1|a|2"), size_max=9)
    assert (page.names, page.previous, page.following) == (["b"], None, "2|b|2")
    page = later.page(Cut(n=1, last="2|b|2"), size_max=9)
    assert (page.names, page.previous, page.following) == (["c"], "|c|2", None)


def test_times_are_microseconds_of_any_zone():
    moment = datetime(2026, 1, 1, 8, tzinfo=timezone(timedelta(hours=8)))
    assert microseconds(moment) == microseconds(datetime(2026, 1, 1, tzinfo=UTC)) == 1767225600 * 10**6
    assert microseconds(None) is None
