"""The search page."""

from urllib.parse import quote

import pytest

from core.model.digest import Digest
from tests.http.web.conftest import ROOT, Visitor
from tests.http.web.pushing import push_as

ALICE = ("alice", "secret")


def search(visitor, text, **parameters):
    extra = "".join(f"&{key}={quote(value)}" for key, value in parameters.items())
    return visitor.open(f"_search?q={quote(text)}{extra}")


async def test_empty_query_shows_how_to_search(visitor):
    page = await visitor.open("_search")
    assert page.status == 200
    assert "<details" in page.html
    assert "Nothing found" not in page.text
    assert "<table" not in page.html


async def test_results_link_repository_tag_and_manifest(visitor):
    manifest = await push_as(visitor.api, "team/web", "v1", labels={"team": "blue"})
    await push_as(visitor.api, "other", "v2")
    page = await search(visitor, "label:team=blue")
    assert f"{ROOT}team/web" in page.links
    assert f"{ROOT}team/web/_tags/v1" in page.links
    assert f"{ROOT}team/web/_manifests/{Digest.of(manifest)}" in page.links
    assert "label team=blue" in page.text
    assert "other" not in page.text
    page = await search(visitor, "oth")
    assert f"{ROOT}other" in page.links


async def test_each_kind_of_match_is_named(visitor):
    manifest = await push_as(visitor.api, "team/web", "v1")
    digest = Digest.of(manifest)
    for query, word in (
        ("tag:v1", "tag"),
        (f"digest:{digest}", "digest"),
        ("platform:linux", "platform"),
        ("media:manifest", "media type"),
        ("name:web", "name"),
    ):
        page = await search(visitor, query)
        assert f"{ROOT}team/web" in page.links, query
        assert f" {word} " in page.text, query


async def test_invalid_query_is_explained(visitor):
    page = await search(visitor, "colour:red")
    assert page.status == 400
    assert "invalid query at character 1" in page.text
    assert (await search(visitor, "x" * 600)).status == 400


async def test_nothing_found_is_said_so(visitor):
    assert "Nothing found" in (await search(visitor, "zzz")).text


async def test_results_have_pages(visitor):
    await push_as(visitor.api, "many", *(f"v{number:03}" for number in range(60)))
    page = await search(visitor, "tag:v*")
    assert sum("/_tags/" in link for link in page.links) == 50
    page = await visitor.open(next(link for link in page.links if "last=" in link))
    assert sum("/_tags/" in link for link in page.links) == 10
    assert "First page" in page.text
    assert "No more results" in (await search(visitor, "tag:v*", last="zzz")).text


async def test_page_goes_on_where_the_work_ended(visitor):
    for number in range(51):
        await push_as(visitor.api, f"r{number:02}", "v1")
    page = await search(visitor, "label:team")
    assert "Nothing found so far" in page.text
    page = await visitor.open(next(link for link in page.links if "last=" in link))
    assert "No more results" in page.text


async def test_hidden_repositories_are_not_found(start_with_users):
    visitor = Visitor(await start_with_users())
    await push_as(visitor.api, "public/one", "v1", user=ALICE)
    await push_as(visitor.api, "team/secret", "v1", user=ALICE)
    page = await search(visitor, "tag:v1")
    assert "public/one" in page.text
    assert "secret" not in page.text
    await visitor.sign_in(*ALICE)
    assert "team/secret" in (await search(visitor, "tag:v1")).text


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7*7 }}"])
async def test_hostile_texts_are_shown_as_text(visitor, text):
    await push_as(visitor.api, "a", "v1", labels={"team": text, text: "x"})
    for query in ("label:team", "label:*x*", f'"{text}"'.replace('""', '"')):
        page = await search(visitor, query)
        assert "<script>alert" not in page.html
        assert "<img src=x" not in page.html
    assert text in (await search(visitor, "label:team")).text


async def test_texts_are_chinese_on_request(visitor):
    visitor.language = "zh"
    page = await search(visitor, "zzz")
    assert "没有找到结果" in page.text
