"""Hints for searches: no repository is passed over in which something matches."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidInputError
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.summaries import hints
from core.summaries.hints import Needles, hint_of
from core.summaries.manifest_summary import ManifestSummary, PlatformSummary
from core.summaries.query import Facts, Query, parse_query

NAME = RepositoryName("team/app")
DIGESTS = [Digest.of(bytes([number])) for number in range(4)]
TEXT = st.text("ab*=/ \n\0\\ßI.\ud800", max_size=5)
WORDS = ("a", "b", "ab", "b*", "*a*b", "ß", "I", "a/b", "a=b", "x", "*")


def facts_of(
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    platform: Sequence[str] = ("linux", "amd64", ""),
    types: tuple[str, str] = ("application/image", ""),
    content: Digest = DIGESTS[0],
) -> Facts:
    os, architecture, variant = platform
    described = PlatformSummary(os=os, architecture=architecture, variant=variant, digest=content, size=1)
    return Facts(
        ManifestSummary(
            digest=content,
            media_type=types[0],
            artifact_type=types[1],
            contents={content: 1},
            platforms=(described,),
            labels=labels or {},
            annotations=annotations or {},
        )
    )


def admits(text: str, tags: Sequence[str], facts: Sequence[Facts]) -> bool:
    query = parse_query(text)
    hint = hint_of(map(Tag, tags), [(each.summary.digest, each) for each in facts])
    rest = query.on_name(NAME)
    assert hint is not None
    return rest is not None and Needles(query).are_in(hint, rest)


def matches(query: Query, tags: Sequence[str], facts: Sequence[Facts]) -> bool:
    rest = query.on_name(NAME)
    for tag, each in zip(tags, facts, strict=True):
        narrowed = rest and (rest if rest.is_decided else rest.on_tag(Tag(tag), each.summary.digest))
        if narrowed and (narrowed.is_decided or narrowed.on_facts(each)):
            return True
    return False


FACTS = st.builds(
    facts_of,
    labels=st.dictionaries(TEXT, TEXT, max_size=3),
    annotations=st.dictionaries(TEXT, TEXT, max_size=2),
    platform=st.tuples(
        st.sampled_from(["linux", "a", "B"]), st.sampled_from(["arm", "b"]), st.sampled_from(["", "v7"])
    ),
    types=st.tuples(st.sampled_from(["a/b", "A.b", ""]), st.sampled_from(["", "ab", "a b"])),
    content=st.sampled_from(DIGESTS),
)
VALUE = st.sampled_from(WORDS) | TEXT.map(lambda text: '"' + text.replace("\\", "\\\\") + '"')
TERM = st.one_of(
    VALUE,
    st.builds("{}:{}".format, st.sampled_from(["name", "tag", "label", "annotation", "media", "type"]), VALUE),
    st.builds("{}:{}={}".format, st.sampled_from(["label", "annotation"]), VALUE, VALUE),
    st.sampled_from(["platform:linux", "platform:arm", "platform:linux/arm", "platform:a/b/v7", "platform:b/arm/v7"]),
    st.builds(lambda digest, end: f"digest:{digest[:end]}", st.sampled_from(DIGESTS), st.integers(13, 40)),
    st.builds(lambda digest, end: digest.encoded[:end], st.sampled_from(DIGESTS), st.integers(6, 40)),
)


@given(
    terms=st.lists(TERM, min_size=1, max_size=3),
    tagged=st.lists(
        st.tuples(st.sampled_from(["a", "B", "ab", "I.b", "x"]), FACTS), max_size=3, unique_by=lambda e: e[0]
    ),
)
def test_no_match_is_passed_over(terms, tagged):
    try:
        query = parse_query(" ".join(terms))
    except InvalidInputError:
        return
    tags, facts = [tag for tag, _ in tagged], [each for _, each in tagged]
    if matches(query, tags, facts):
        assert admits(" ".join(terms), tags, facts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("label:team=x", True),
        ("label:team=y", False),
        ("label:team", True),
        ("label:tea", False),
        ("label:te*=x", True),
        ("label:te*=*z", False),
        ("annotation:team", False),
        ("annotation:k=v", True),
        ("tag:v1", True),
        ("tag:v", False),
        ("tag:v*", True),
        ("latest", False),
        ("team", True),
        ("app V1", True),
        ("app v2", False),
        ("platform:linux/amd64", True),
        ("platform:amd64", True),
        ("platform:linux/arm64", False),
        ("media:image", True),
        ("type:sbom", False),
        (f"digest:{DIGESTS[0]}", True),
        (f"digest:{DIGESTS[1].encoded[:6]}", False),
    ],
)
def test_hints_are_precise(text, expected):
    assert admits(text, ["v1"], [facts_of({"team": "x"}, {"k": "v"})]) == expected


def test_hint_is_bounded(monkeypatch):
    facts = [facts_of({f"key-{number}": "value"}) for number in range(10)]
    described = [(each.summary.digest, each) for each in facts]
    hint = hint_of([Tag("v1")], described)
    assert hint is not None
    monkeypatch.setattr(hints, "HINT_BYTES_MAX", hint.size)
    assert hint_of([Tag("v1")], described) == hint
    assert hint_of([Tag("v1"), Tag("v2")], described) is None
    monkeypatch.setattr(hints, "HINT_BYTES_MAX", 20)
    assert hint_of([Tag("v1")], described) is None
