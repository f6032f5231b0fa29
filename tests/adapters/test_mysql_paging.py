"""Byte order through a key of another order: right for every set of names, at a bounded number of reads."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters.catalog_index.bounds import ALPHABET
from adapters.catalog_index.mysql.paging import KeyRange, first_names

# Other tests run the same lines; measuring coverage here would double the time of this file.
pytestmark = pytest.mark.unmeasured


def as_key(name: str) -> str:
    """Sorts as `utf8_general_ci` does: by capitals."""
    return name.upper()


class Table:
    """Sorted by the key, and counting its reads."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = sorted(set(names), key=as_key)
        self.statements = 0
        self.rows = 0

    async def fetch(self, ranges: Sequence[KeyRange], limit: int) -> list[list[str]]:
        self.statements += 1
        answer = [self.read(each, limit) for each in ranges]
        self.rows += sum(map(len, answer))
        return answer

    def read(self, wanted: KeyRange, limit: int) -> list[str]:
        low, high = as_key(wanted.low), as_key(wanted.high)
        inside = [name for name in self.names if low < as_key(name) < high or (wanted.has_low and as_key(name) == low)]
        return inside[:limit]


def page(table: Table, after: str, count: int) -> list[str]:
    return asyncio.run(first_names(table.fetch, after=after, count=count))


# Few characters, so that names share beginnings and differ where the orders do.
TEXTS = st.text(alphabet="-9_ab", min_size=1, max_size=6)
ANY = st.text(alphabet=ALPHABET, min_size=1, max_size=4)


@settings(max_examples=300, deadline=None)
@given(
    names=st.sets(TEXTS, max_size=25) | st.sets(ANY, max_size=25),
    after=TEXTS | st.just(""),
    count=st.integers(1, 7),
)
@example(names={"a_1", "a_2", "a_3", "ab", "ac"}, after="a", count=2)
@example(names={"a_1", "a_2", "a_3", "ab", "ac"}, after="a_1", count=3)
@example(names={"a_1", "a_2", "a_3", "ab", "ac"}, after="aa", count=1)
@example(names={"a_a_b", "a_aa", "aa_a", "aaa", "a"}, after="a_a_a", count=4)
def test_page_is_in_byte_order(names, after, count):
    expected = sorted(name for name in names if name > after)[:count]
    assert page(Table(names), after, count) == expected


@settings(max_examples=200, deadline=None)
@given(names=st.sets(TEXTS, max_size=40), count=st.integers(1, 5))
def test_pages_join_to_the_whole_set(names, count):
    table, found, after = Table(names), [], ""
    while part := page(table, after, count):
        found += part
        after = part[-1]
    assert found == sorted(names)


LARGE = {
    "letters before the mark": [f"a{chr(97 + n % 26)}{n}" for n in range(3000)] + [f"a_{n}" for n in range(3000)],
    "nested marks": [f"{'a_' * (n % 8)}a{n}" for n in range(6000)],
    "teams": [f"team-{n % 97}/app_{n}" for n in range(6000)] + [f"team-{n % 97}/app{n}" for n in range(6000)],
}


@pytest.mark.parametrize("names", LARGE.values(), ids=LARGE)
def test_reads_do_not_grow_with_the_table(names):
    in_order = sorted(set(names))
    for start in range(0, len(in_order), 997):
        table = Table(names)
        after = in_order[start]
        assert page(table, after, 50) == in_order[start + 1 : start + 51]
        assert table.statements <= 24
        assert table.rows <= 24 * 50
