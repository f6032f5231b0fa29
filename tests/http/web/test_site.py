"""The frame of the web page: addresses, headers, errors, languages, themes, and the way to it."""

import pytest
from aiohttp import web

from config.settings import HttpSettings, Settings, UiSettings
from entrypoints.web.locations import Location, Page, locate
from tests.http.web.conftest import ROOT, Visitor


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("", Location(Page.OVERVIEW)),
        ("_search", Location(Page.SEARCH)),
        ("_static/style.css", Location(Page.STATIC, reference="style.css")),
        ("a", Location(Page.REPOSITORY, "a")),
        ("a/b/", Location(Page.REPOSITORY, "a/b")),
        ("a/b/_tags/v1", Location(Page.TAG, "a/b", "v1")),
        ("a/_manifests/sha256:ab", Location(Page.MANIFEST, "a", "sha256:ab")),
        ("_nothing", None),
        ("a/_nothing/b", None),
        ("a/_trash", None),
        ("_tags/v1", None),
    ],
)
def test_addresses(path, location):
    assert locate(path) == location
    if location is not None:
        assert locate(location.path) == location


async def test_root_sends_browsers_to_the_page_and_answers_health_checks(api):
    async with api.request("GET", "/", headers={"Accept": "text/html,*/*"}) as response:
        assert (response.status, response.headers["Location"]) == (302, ROOT)
    async with api.request("GET", "/") as response:
        assert (response.status, await response.text()) == (200, "")


async def test_page_can_be_turned_off(start):
    api = await start(Settings(ui=UiSettings(enabled=False)))
    async with api.request("GET", ROOT) as response:
        assert response.status == 404
    async with api.request("GET", "/", headers={"Accept": "text/html"}) as response:
        assert response.status == 200


async def test_page_moves_with_its_path_and_the_prefix(start):
    api = await start(Settings(ui=UiSettings(path="/look/"), http=HttpSettings(prefix="/hub/")))
    async with api.request("GET", "/", headers={"Accept": "text/html"}) as response:
        assert response.headers["Location"] == "/hub/look/"
    async with api.request("GET", "/hub/look/") as response:
        assert response.status == 200
        html = await response.text()
        assert 'href="/hub/look/_static/style.css' in html
        assert response.cookies["registry_session"]["path"] == "/hub/look/"
    async with api.request("GET", ROOT) as response:
        assert response.status == 404


async def test_host_of_the_settings_is_the_name_of_the_page(start):
    api = await start(Settings(http=HttpSettings(host="https://registry.example.com")))
    page = await Visitor(api).open()
    assert "registry.example.com" in page.html
    assert "127.0.0.1" not in page.html


async def test_headers_forbid_all_that_a_page_does_not_need(visitor):
    page = await visitor.open()
    assert page.status == 200
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["X-Frame-Options"] == "DENY"
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Referrer-Policy"] == "same-origin"
    assert page.headers["Cache-Control"] == "no-store"
    assert "Cross-Origin-Opener-Policy" not in page.headers
    page = await visitor.open(headers={"X-Forwarded-Proto": "https"})
    assert page.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "style=" not in page.html
    assert "onclick" not in page.html


async def test_static_files_are_kept_by_browsers(visitor):
    page = await visitor.open()
    address = page.html.partition('stylesheet" href="')[2].partition('"')[0]
    style = await visitor.open(address)
    assert (style.status, style.headers["Content-Type"]) == (200, "text/css; charset=utf-8")
    assert "immutable" in style.headers["Cache-Control"]
    assert (await visitor.open("_static/../site.py")).status == 404
    assert (await visitor.open("_static/nothing.js")).status == 404


async def test_unknown_pages_are_not_found(visitor):
    page = await visitor.open("_nothing")
    assert page.status == 404
    assert "no such page" in page.text
    async with visitor.api.request("DELETE", ROOT) as response:
        assert response.status == 404


async def test_language_follows_the_browser_and_the_switch(visitor):
    visitor.language = "zh-CN,zh;q=0.9,en;q=0.8"
    page = await visitor.open()
    assert '<html lang="zh"' in page.html
    page = await visitor.send(page.form("_preferences"), language="en")
    assert '<html lang="en"' in page.html
    assert 'lang="en"' in (await visitor.open()).html


@pytest.mark.parametrize("header", ["", "xx", "zh;q=0", ";;;,=,q=x", "en-GB", "a" * 5000])
async def test_other_languages_become_english(visitor, header):
    visitor.language = header
    assert '<html lang="en"' in (await visitor.open()).html


async def test_theme_is_kept(visitor):
    page = await visitor.send((await visitor.open()).form("_preferences"), theme="dark")
    assert 'data-theme="dark"' in page.html
    page = await visitor.send(page.form("_preferences"), theme="")
    assert "data-theme" not in page.html


@pytest.mark.parametrize("target", ["//evil.example/", "https://evil.example", "../v2/", "_nothing", "\r\nX: y"])
async def test_forms_return_to_the_site_only(visitor, target):
    page = await visitor.open()
    page = await visitor.send(page.form("_preferences"), theme="dark", next=target)
    assert page.path.startswith(ROOT)


async def test_form_without_its_token_is_refused(visitor):
    page = await visitor.open()
    for token in ("", "x", "é"):
        answer = await visitor.send(page.form("_preferences"), theme="dark", form_token=token)
        assert answer.status == 403
    other = Visitor(visitor.api)
    token = dict((await other.open()).form("_preferences").fields)["form_token"]
    assert (await visitor.send(page.form("_preferences"), form_token=token)).status == 403


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"a=%ff", "application/x-www-form-urlencoded"), (b"{}", "application/json"), (b"a=" + b"x" * 300_000, "")],
)
async def test_other_bodies_are_refused(visitor, body, kind):
    headers = {"Content-Type": kind or "application/x-www-form-urlencoded"}
    async with visitor.api.request("POST", ROOT + "_preferences", data=body, headers=headers) as response:
        assert response.status in {400, 403}


async def test_errors_have_a_text_and_the_next_step(visitor, start_with_users):
    page = await visitor.open("_nothing")
    assert "This page does not exist" in page.text
    assert ROOT in page.links
    api = await start_with_users()
    signed_in = Visitor(api)
    page = await signed_in.sign_in("bob", "b")
    page = await signed_in.send(page.form("_preferences"), theme="dark", form_token="x")
    assert (page.status, "You may not change this" in page.text) == (403, True)
    signed_in.language = "zh"
    page = await signed_in.open("_nothing")
    assert "页面不存在" in page.text


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 413, 416, 429, 500, 502, 503, 504, 507])
@pytest.mark.parametrize("language", ["en", "zh"])
async def test_each_status_has_a_page(status, language, start, monkeypatch):
    api = await start()
    rendered = web.json_response({"errors": [{"message": "<b>details</b>"}]}, status=status)
    monkeypatch.setattr("entrypoints.web.site.render", lambda *_: rendered)
    visitor = Visitor(api)
    visitor.language = language
    page = await visitor.open("_nothing")
    assert page.status == status
    assert "<b>" not in page.html
    assert ("&lt;b&gt;" in page.html) == (status < 500)
    assert ROOT in page.links
