"""Precedence of versions, as semver.org has it."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.model.versions import Version

ASCENDING = [
    "0.0.1",
    "0.9.0",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "1.9.0",
    "1.10.0",
    "10.0.0",
]


def parsed(text: str) -> Version:
    version = Version.parse(text)
    assert version is not None
    return version


def test_examples_of_the_specification_ascend():
    versions = [parsed(text) for text in ASCENDING]
    assert all(lower < higher for lower, higher in pairwise(versions))
    assert sorted(versions, reverse=True) == versions[::-1]


def test_prefix_v_is_ignored():
    assert Version.parse("v1.2.3") == Version.parse("1.2.3")
    assert len({Version.parse("v1.2.3"), Version.parse("1.2.3")}) == 1
    assert Version.parse("1.2.3") != "1.2.3"


@pytest.mark.parametrize(
    "text",
    ["", "latest", "1", "1.2", "1.2.3.4", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3-a..b", "V1.2.3", "9" * 19 + ".0.0"],
)
def test_other_tags_are_no_versions(text):
    assert Version.parse(text) is None


identifiers = st.one_of(st.integers(0, 99).map(str), st.from_regex(r"[a-z][a-z0-9-]{0,3}", fullmatch=True))
versions = st.builds(
    lambda numbers, fields: ".".join(map(str, numbers)) + ("-" + ".".join(fields) if fields else ""),
    st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(0, 12)),
    st.lists(identifiers, max_size=3),
)


@given(versions, versions, versions)
def test_order_is_total(first, second, third):
    a, b, c = parsed(first), parsed(second), parsed(third)
    assert (a < b) + (b < a) + (a == b) == 1
    assert not (a < b < c) or a < c
    assert (a == b) == (first == second)
