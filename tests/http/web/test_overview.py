"""The overview: the tree of namespaces, the list, figures, and the state of the registry for operators."""

import re
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest

from adapters.upstream.memory import InMemoryUpstream
from config.settings import ProxySettings, Settings, StorageSettings
from core.coordination.read_only import ReadOnly, switch_on
from core.model.access import Rule, RuleAction
from core.ports.upstream import UpstreamQuota
from core.pull_through.origins import Origins
from core.pull_through.rules import UpstreamRules
from tests.http.web.conftest import READERS, ROOT, Visitor
from tests.http.web.pushing import push_as

ALICE = ("alice", "secret")


def names(page):
    """Return the namespaces and repositories that a page links in its table."""
    found = []
    for link in page.links:
        url = urlsplit(link)
        query = parse_qs(url.query)
        if url.path == ROOT and "in" in query and "sort" not in query:
            found.append(query["in"][0] + "/")
        elif url.path.startswith(ROOT) and not url.path.startswith(f"{ROOT}_") and url.path != ROOT:
            found.append(url.path.removeprefix(ROOT))
    return found


async def test_tree_shows_one_level_at_a_time(visitor):
    for name in ("team/web/front", "team/web", "team/app", "alpine"):
        await push_as(visitor.api, name, "v1")
    page = await visitor.open()
    assert names(page) == ["team/", "alpine"]
    assert "3 repositories" in page.text
    page = await visitor.open("?in=team")
    assert names(page)[-3:] == ["team/web/", "team/app", "team/web"]
    assert "All repositories" in page.text
    page = await visitor.open("?in=team/web")
    assert names(page)[-2:] == ["team/web/", "team/web/front"]
    assert "No repositories here" in (await visitor.open("?in=nothing")).text
    assert (await visitor.open("?in=" + "a" * 300)).status == 400


async def test_list_shows_all_and_the_filter_selects_by_name(visitor):
    for name in ("team/web/front", "team/app", "alpine"):
        await push_as(visitor.api, name, "v1")
    assert names(await visitor.open("?view=list")) == ["alpine", "team/app", "team/web/front"]
    assert names(await visitor.open("?view=list&sort=-name")) == ["team/web/front", "team/app", "alpine"]
    assert names(await visitor.open("?q=p")) == ["alpine", "team/app"]
    assert names(await visitor.open("?q=p&in=team"))[-1:] == ["team/app"]
    page = await visitor.open("?q=zzz")
    assert "No repository has this in its name" in page.text
    assert ROOT + "_search?q=zzz" in page.links
    assert (await visitor.open("?sort=colour")).status == 400


async def test_both_arrangements_have_pages_of_a_hundred(visitor, services):
    for number in range(102):
        await push_as(visitor.api, f"r{number:03}", "v1")
    page = await visitor.open()
    assert len(names(page)) == 100
    assert "Page 1 of 2" in page.text
    assert names(await visitor.open(next(link for link in page.links if "page=2" in link))) == ["r100", "r101"]
    page = await visitor.open("?page=zzz")
    assert "Page 1 of 2" in page.text
    page = await visitor.open("?view=list")
    assert len(names(page)) == 100
    assert names(await visitor.open(next(link for link in page.links if "last=" in link))) == ["r100", "r101"]


async def test_empty_registry_shows_how_to_push(visitor):
    page = await visitor.open()
    host = visitor.api.root.removeprefix("http://")
    assert f"docker push {host}/hello-world:latest" in page.text
    assert f"podman push --tls-verify=false docker.io/library/hello-world {host}/hello-world:latest" in page.text
    assert "insecure-registries" in page.text
    page = await visitor.open(headers={"X-Forwarded-Proto": "https", "X-Forwarded-Host": "hub.example"})
    assert "docker push hub.example/hello-world:latest" in page.text
    assert "insecure" not in page.text
    assert "--tls-verify" not in page.text


async def test_commands_name_a_repository_to_which_the_visitor_may_push(start_with_users):
    visitor = Visitor(await start_with_users())
    page = await visitor.open()
    assert "docker push" not in page.text
    assert "Sign in to see more" in page.text
    page = await visitor.sign_in("bob", "b")
    assert "/team/hello-world:latest" in page.text
    assert "docker login" in page.text


async def test_pages_do_not_depend_on_hidden_repositories(start_with_users):
    visitor = Visitor(await start_with_users())
    await push_as(visitor.api, "public/one", "v1", user=ALICE)
    addresses = (
        "",
        "?view=list",
        "?in=public",
        "?in=team",
        "?q=o",
        "?sort=-size",
        "?view=list&sort=-pushed",
        "?in=zoo",
    )
    before = [_without_token(await visitor.open(address)) for address in addresses]
    for name in ("team/secret", "public2/x", "zoo"):
        await push_as(visitor.api, name, "v1", "v2", user=ALICE)
    assert [_without_token(await visitor.open(address)) for address in addresses] == before
    page = await visitor.sign_in(*ALICE)
    assert names(page) == ["public/", "public2/", "team/", "zoo"]


def _without_token(page):
    return re.sub(r'name="form_token" value="[^"]*"', "", page.html)


async def test_state_is_for_operators(start_with_users):
    visitor = Visitor(await start_with_users())
    assert "Garbage collection" not in (await visitor.open()).text
    page = await visitor.sign_in(*ALICE)
    assert "It has not run yet." in page.text
    assert "Its size is not measured yet." in page.text
    assert "Accepted" in page.text
    assert "Garbage collection" not in (await visitor.open("?in=team")).text


async def test_state_shows_read_only_mode_and_upstreams(start):
    upstream = InMemoryUpstream("docker.io")
    upstream.quota = UpstreamQuota(limit=100, remaining=70, window_seconds=3600)
    origins = Origins([(UpstreamRules(prefix="hub"), upstream)])
    visitor = Visitor(await start(replace(Settings(), proxy=ProxySettings()), origins=origins))
    await switch_on(visitor.api.services.storage, ReadOnly(reason="moving <b>house</b>"))
    page = await visitor.open()
    assert "moving <b>house</b>" in page.text
    assert "docker.io as hub/…" in page.text
    assert "70 of 100 pulls left" in page.text


async def test_state_shows_the_reason_of_the_configuration(start):
    storage = StorageSettings(readonly_enabled=True, readonly_reason="audit week")
    assert "audit week" in (await Visitor(await start(Settings(storage=storage))).open()).text


async def test_state_shows_the_last_measurement_and_collection(start):
    visitor = Visitor(await start())
    await push_as(visitor.api, "a", "v1")
    for job in ("usage", "collection"):
        path = f"/v2/_sohu/registry/{job}"
        async with visitor.api.request("POST", path, json={"action": "start"}) as response:
            assert response.status == 202
    page = await visitor.open()
    while "Last run" not in page.text or "Storage used" not in page.text:
        page = await visitor.open()
    assert "0 entries" in page.text


@pytest.mark.parametrize("text", ['"><script>alert(1)</script>', "' onmouseover='x"])
async def test_hostile_texts_are_shown_as_text(visitor, text):
    page = await visitor.open("?q=" + text.replace("<", "%3C").replace(">", "%3E").replace('"', "%22"))
    assert "<script>alert" not in page.html
    assert "onmouseover='x'" not in page.html
    page = await visitor.open("?in=%3Cscript%3Ealert(1)")
    assert "<script>alert" not in page.html


async def test_reader_without_other_rights_sees_the_visible_part(start_with_users):
    rule = Rule(who=("bob",), repositories=("team/*",), actions=(RuleAction.PULL,))
    visitor = Visitor(await start_with_users(*READERS, rule, Rule(who=("alice",), actions=tuple(RuleAction))))
    await push_as(visitor.api, "team/one", "v1", user=ALICE)
    await push_as(visitor.api, "private/two", "v1", user=ALICE)
    assert names(await visitor.sign_in("bob", "b")) == ["team/"]


async def test_texts_are_chinese_on_request(visitor):
    visitor.language = "zh-CN"
    assert "还没有仓库" in (await visitor.open()).text
