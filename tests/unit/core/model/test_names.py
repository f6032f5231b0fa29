import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DigestInvalidError, NameInvalidError, TagInvalidError
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag, parse_reference, tags_among


@pytest.mark.parametrize("name", ["a", "a/b", "library/ubuntu", "a.b_c__d-e---f/0", "a" * 255, "/".join(["a"] * 128)])
def test_legal_name_keeps_its_text(name):
    assert RepositoryName(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *["", "/", "a/", "/a", "a//b", "A", "a/B", ".", "..", "a/..", "../a", "a/../b", "a..b", "a___b", "_a", "a_"],
        *["-a", "a-", "a b", "a\n", "a%2fb", "host:5000/a", "é", "a\x00", "a/_uploads", "a" * 256],
    ],
)
def test_illegal_name_is_refused(name):
    with pytest.raises(NameInvalidError):
        RepositoryName(name)


@given(st.from_regex(r"[a-z0-9./_-]{1,40}", fullmatch=True))
def test_accepted_name_is_a_safe_path(name):
    try:
        RepositoryName(name)
    except NameInvalidError:
        return
    for component in name.split("/"):
        assert re.fullmatch(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?", component)
        assert ".." not in component


@pytest.mark.parametrize("tag", ["a", "_", "1.2", "v1_-.", "A" * 128])
def test_legal_tag_keeps_its_text(tag):
    assert Tag(tag) == tag
    assert parse_reference(tag) == tag


@pytest.mark.parametrize("tag", ["", ".", "..", "-a", ".a", "a/b", "a b", "a\n", "é", "a" * 129])
def test_illegal_tag_is_refused(tag):
    with pytest.raises(TagInvalidError):
        Tag(tag)


def is_tag(name):
    try:
        return Tag(name) == name
    except TagInvalidError:
        return False


@given(st.lists(st.one_of(st.from_regex(r"[a-zA-Z0-9_./-]{0,3}", fullmatch=True), st.just("a" * 129), st.text())))
def test_tags_among_names_are_those_that_are_tags_alone(names):
    tags = tags_among(names)
    assert tags == [name for name in names if is_tag(name)]
    assert {type(tag) for tag in tags} <= {Tag}


def test_reference_with_colon_is_a_digest():
    digest = Digest.of(b"")
    assert isinstance(parse_reference(digest), Digest)
    with pytest.raises(DigestInvalidError):
        parse_reference("a:b")
