"""The query language: fields, quotes, wildcards, bounds and errors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidInputError
from core.model.digest import Digest
from core.model.media_types import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from core.model.names import RepositoryName, Tag
from core.summaries.manifest_summary import ManifestSummary, PlatformSummary
from core.summaries.query import ENTRIES_MAX, LENGTH_MAX, TERMS_MAX, VALUE_LENGTH_MAX, Facts, Query, parse_query

NAME = RepositoryName("team/web-shop")
TAG = Tag("V1.2")
LAYER = Digest.of(b"layer")
IMAGE = Digest.of(b"image")
DIGEST = Digest.of(b"manifest")


def platform(os: str, architecture: str, variant: str = "") -> PlatformSummary:
    return PlatformSummary(os=os, architecture=architecture, variant=variant, digest=IMAGE, size=1)


SUMMARY = ManifestSummary(
    digest=DIGEST,
    media_type=OCI_MANIFEST,
    artifact_type="application/vnd.Example.sbom",
    contents={DIGEST: 10, LAYER: 20},
    platforms=(platform("linux", "amd64"), platform("linux", "arm64", "v8")),
    annotations={"org.example.note": "Hello World"},
    labels={"team": "Payments", "tier": ""},
)


def found(text: str, summary: ManifestSummary = SUMMARY, image: ManifestSummary | None = None) -> list[str] | None:
    """Return the places where the terms of a query match, or None if it does not match."""
    query: Query | None = parse_query(text)
    for narrow in (
        lambda query: query.on_name(NAME),
        lambda query: query.on_tag(TAG, DIGEST),
        lambda query: query.on_facts(Facts(summary, image)),
    ):
        if query is not None:
            query = narrow(query)
    assert query is None or query.is_decided
    return None if query is None else sorted(query.matched)


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("", []),
        ("  ", []),
        ("web", ["name"]),
        ("WEB shop", ["name"]),
        ("name:Web", ["name"]),
        ("name:web", ["name"]),
        ("name:team/*", ["name"]),
        ("name:t*m/*b*", ["name"]),
        ("name:*", ["name"]),
        ("v1", ["tag"]),
        ("tag:v1.2", ["tag"]),
        ("tag:v1.*", ["tag"]),
        ("TAG:*2", ["tag"]),
        ("payments", ["label:team"]),
        ("tier", ["label:tier"]),
        ("world", ["annotation:org.example.note"]),
        ('"hello world"', ["annotation:org.example.note"]),
        ("label:team", ["label:team"]),
        ("label:team=payments", ["label:team"]),
        ("label:team=pay*", ["label:team"]),
        ("label:*=payments", ["label:team"]),
        ("label:tier=", ["label:tier"]),
        ('annotation:"org.example.note=hello world"', ["annotation:org.example.note"]),
        ('annotation:org.example.note="hello world"', ["annotation:org.example.note"]),
        (f"digest:{DIGEST}", ["digest"]),
        (f"{DIGEST}", ["digest"]),
        (f"digest:{LAYER}", ["digest"]),
        (f"digest:{LAYER.encoded[:6].upper()}", ["digest"]),
        (f"sha256:{LAYER.encoded[:6]}", ["digest"]),
        ("platform:linux", ["platform"]),
        ("platform:Linux/arm64", ["platform"]),
        ("platform:linux/arm64/v8", ["platform"]),
        ("platform:arm64", ["platform"]),
        ("media:manifest", ["media"]),
        (f"media:{OCI_MANIFEST}", ["media"]),
        ("type:sbom", ["type"]),
        ("web v1 label:team type:sbom", ["label:team", "name", "tag", "type"]),
        ("nothing", None),
        ("web nothing", None),
        ("name:nothing", None),
        ("name:web*", None),
        ("name:*webshop", None),
        ("name:team/web-shop*team/web-shop", None),
        ("name:*z*", None),
        ("tag:v1", None),
        ("tag:1*", None),
        ("label:payments", None),
        ("label:team=pay", None),
        ("label:org.example.note", None),
        ("annotation:team", None),
        ("digest:sha512:abcdef", None),
        ("digest:ffffff", None),
        ("platform:windows", None),
        ("platform:linux/v8", None),
        ("platform:linux/amd64/v8", None),
        ("media:index", None),
        ("type:signature", None),
    ],
)
def test_terms_match_their_fields(text: str, places: list[str] | None) -> None:
    assert found(text) == places


def test_type_needs_an_artifact_type() -> None:
    assert found("type:*", ManifestSummary(digest=DIGEST, media_type=OCI_MANIFEST)) is None
    image = ManifestSummary(digest=DIGEST, media_type=OCI_MANIFEST, artifact_type=OCI_CONFIG)
    assert found("type:*", image) is None


def test_index_has_the_labels_of_its_first_image() -> None:
    index = ManifestSummary(digest=DIGEST, media_type=OCI_INDEX, annotations={"a": "index"})
    assert found("label:team", index) is None
    assert found("label:team annotation:a", index, SUMMARY) == ["annotation:a", "label:team"]
    assert Facts(index, SUMMARY).find("a") == "index"
    assert Facts(index, SUMMARY).find("team") == "Payments"
    assert Facts(index).find("team") == ""


def test_searched_text_is_bounded() -> None:
    labels = {f"key{number}": "x" * VALUE_LENGTH_MAX + "end" for number in range(ENTRIES_MAX + 1)}
    summary = ManifestSummary(digest=DIGEST, media_type=OCI_MANIFEST, labels=labels)
    assert found(f"key{ENTRIES_MAX - 1}", summary) == [f"label:key{ENTRIES_MAX - 1}"]
    assert found(f"key{ENTRIES_MAX}", summary) is None
    assert found("end", summary) is None


@pytest.mark.parametrize(
    ("text", "sought"),
    [
        ('"name:web"', "name:web"),
        ('label:"a b=c d"', "a b=c d"),
        (r'label:"a=\"\\"', 'a="\\'),
        ('a"b c"d', "ab cd"),
    ],
)
def test_quotes_keep_spaces_colons_and_escapes(text: str, sought: str) -> None:
    key, _, value = sought.partition("=")
    summary = ManifestSummary(digest=DIGEST, media_type=OCI_MANIFEST, labels={key: value})
    assert found(text, summary) == [f"label:{key}"]


@pytest.mark.parametrize(
    ("text", "position", "reason"),
    [
        ("a" * (LENGTH_MAX + 1), LENGTH_MAX + 1, "at most 512 characters"),
        ("a\nb", 2, "control characters"),
        ("a \ud800", 3, "control characters"),
        ("web \x1b[31m", 5, "control characters"),
        ("a " * TERMS_MAX + "b", 2 * TERMS_MAX + 1, "at most 16 terms"),
        ('a "b', 3, "quote is not closed"),
        ('a"b', 2, "quote is not closed"),
        ('"', 1, "quote is not closed"),
        (r'"a\"', 1, "quote is not closed"),
        ('""', 1, "needs a value"),
        ("name:", 6, "needs a value"),
        ('tag:""', 5, "needs a value"),
        (":a", 1, "unknown field"),
        ("a size:3", 3, "unknown field"),
        ("web:v1", 1, "unknown field"),
        ("digest:", 8, "needs a value"),
        ("digest:abcde", 8, "first 6 hex digits"),
        ("digest:xyzxyz", 8, "first 6 hex digits"),
        ("digest:md5:abcdef", 8, "first 6 hex digits"),
        ("sha256:ab", 1, "first 6 hex digits"),
        (f"digest:{'a' * 129}", 8, "first 6 hex digits"),
        ("platform:linux//v8", 10, "the form"),
        ("platform:a/b/c/d", 10, "the form"),
    ],
)
def test_errors_name_the_place(text: str, position: int, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason) as caught:
        parse_query(text)
    assert caught.value.detail == {"position": position}
    assert f"at character {position}:" in str(caught.value)
    assert text not in str(caught.value) or len(text) == 1


def test_words_match_only_names_in_a_query_by_name() -> None:
    query = parse_query("web label:team").by_name()
    narrowed = query.on_name(NAME)
    assert narrowed is not None
    assert [term.field for term in narrowed.terms] == ["label"]
    assert query.on_name(RepositoryName("other")) is None


@given(st.text(max_size=LENGTH_MAX + 10))
def test_any_text_is_a_query_or_an_error_with_a_position(text: str) -> None:
    try:
        query = parse_query(text)
    except InvalidInputError as error:
        detail = error.detail
    else:
        assert len(query.terms) <= TERMS_MAX
        found(text)
        return
    assert isinstance(detail, dict)
    assert 1 <= detail["position"] <= max(1, len(text))


def test_many_wildcards_cost_little() -> None:
    text = "label:" + "a*" * 200 + "b"
    summary = ManifestSummary(digest=DIGEST, media_type=OCI_MANIFEST, labels={"a" * VALUE_LENGTH_MAX: "x"})
    assert found(text, summary) is None
