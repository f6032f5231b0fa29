"""The web page in a real browser: errors, requests, widths, themes, languages, accessibility, and whole tasks."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.support.browser import Browser, open_browser
from tests.support.demo_store import CHART, HOSTILE, LONG, NGINX, SCRIPT, WEB, DemoStore, UserClient
from tests.support.htpasswd import write_htpasswd
from tests.support.oci import Index
from tests.support.processes import RegistryServer

pytestmark = pytest.mark.e2e

ALICE = ("alice", "secret")
WIDTHS = (360, 768, 1440)
OF_THE_LAYOUT = ("color-contrast", "link-in-text-block", "scrollable-region-focusable", "target-size")
"""The rules of axe-core whose result depends on the width; the others depend on the document only."""
RULES = [
    {"who": ["anonymous"], "repositories": ["public/**"], "actions": ["pull", "catalog"]},
    {"who": ["alice"], "actions": ["pull", "push", "delete", "catalog", "admin"]},
    {"who": ["bob"], "repositories": ["team/**"], "actions": ["pull", "push", "catalog"]},
]
OF_A_VISITOR = ("", "_sign-in", "_nothing", "private/payments", NGINX, "_search?q=label:*")
OF_THE_REGISTRY = (
    "",
    "?in=team",
    "_search?q=team",
    "_search?q=nothing-at-all",
    "_usage",
    "_collection",
    "_trash",
    "_retention",
    "_verification",
    "_read-only",
    "_activity",
    "_notifications",
    "_keys",
)
OF_A_REPOSITORY = (
    f"{WEB}?filter=1.11.*&sort=size",
    f"{WEB}?filter=nothing",
    LONG,
    HOSTILE,
    CHART,
    "team/unknown",
    f"{WEB}/_history/1.0.0",
    f"{WEB}/_delete?all=1",
    f"{WEB}/_removed",
    f"{WEB}/_plan",
)
OF_AN_IMAGE = (
    f"{NGINX}/_tags/latest",
    f"{NGINX}/_manifests/<platform>",
    f"{HOSTILE}/_tags/latest",
    f"{CHART}/_tags/0.4.2",
    f"{NGINX}/_tags/unknown",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    folder = tmp_path_factory.mktemp("page")
    users = write_htpasswd(folder / "htpasswd", alice="secret", bob="b")
    config = {
        "auth": {"htpasswd": {"realm": "r", "path": str(users)}},
        "access": {"rules": RULES},
        "audit": {"file": str(folder / "audit.jsonl")},
        "retention": {"rules": [{"repositories": [WEB], "keeplast": 2}], "interval": "0"},
    }
    with RegistryServer(folder, folder / "storage", config=config) as running:
        yield running


@pytest.fixture(scope="module")
def index(server: RegistryServer) -> Index:
    """The store has its content; the index is the one that `NGINX` has under `latest`."""
    return DemoStore(server.host, user=ALICE).fill()


@pytest.fixture(scope="module")
def one_browser(server: RegistryServer, tool: Callable[[str], str]) -> Iterator[Browser]:
    tool("chromium")
    tool("chromedriver")
    with open_browser(server.port) as running:
        yield running


@pytest.fixture
def browser(one_browser: Browser, index: Index) -> Iterator[Browser]:
    """The browser as a new visitor sees the page; every test fails if the console or the network shows a fault."""
    one_browser.forget()
    one_browser.prefer()
    one_browser.resize(1440)
    one_browser.troubles()
    one_browser.foreign_requests()
    yield one_browser
    assert one_browser.troubles() == []
    assert one_browser.foreign_requests() == []


def look_around(browser: Browser, path: str) -> list[Any]:
    """Return the faults of a page at each width, in each theme and each language.

    Only the colours differ between the themes, and only the texts between the languages, so the complete set of rules
    is checked once.
    """
    found: list[Any] = []
    for language in ("en", "zh"):
        browser.prefer(language=language)
        browser.open(path)
        for width in WIDTHS:
            browser.resize(width)
            if (overhang := browser.overhang()) > 0:
                found.append((path, language, width, f"wider than the window by {overhang} pixels"))
            if width == 360 or (width == 1440 and language == "en"):
                rules = () if (language, width) == ("en", 360) else OF_THE_LAYOUT
                found += [(path, language, width, barrier) for barrier in browser.barriers(rules)]
        browser.prefer(theme="dark", language=language)
        if language == "en":
            found += [(path, "dark", barrier) for barrier in browser.barriers(["color-contrast"])]
    return found + [(path, trouble) for trouble in browser.troubles()]


@pytest.mark.parametrize("path", OF_A_VISITOR)
def test_pages_of_a_visitor(browser, path):
    assert look_around(browser, path) == []


def measure(browser: Browser) -> None:
    """Measure the storage, as the button of the page does."""
    browser.sign_in(*ALICE)
    browser.open("_usage")
    browser.follow(browser.find("main form button"))
    browser.reload_until("main table")


@pytest.mark.parametrize(
    "paths", [OF_THE_REGISTRY, OF_A_REPOSITORY, OF_AN_IMAGE], ids=["registry", "repository", "image"]
)
def test_pages_of_a_user(browser, index, paths):
    measure(browser)
    found = []
    for path in paths:
        found += look_around(browser, path.replace("<platform>", index.images[0].digest))
    assert found == []


def test_pages_that_no_rule_allows(browser):
    browser.sign_in("bob", "b")
    for path in ("private/payments", "_trash"):
        assert look_around(browser, path) == []
        assert "403" in browser.text
    browser.open(WEB)
    assert not browser.has("button.danger, .button.danger, input[type=checkbox]")


def test_dark_page_is_printed_on_white_paper(browser):
    browser.open()
    browser.follow(browser.find("button[name=theme][value=dark]"))
    colour = browser.find("h1").value_of_css_property("color")
    browser.print_preview()
    assert not browser.find("footer").is_displayed()
    assert browser.find("h1").value_of_css_property("color") != colour
    assert browser.barriers(["color-contrast"]) == []


def test_page_of_a_removed_entry(browser):
    browser.sign_in(*ALICE)
    browser.open("_trash")
    browser.follow(browser.find("a[href*='_trash-entry/']"))
    assert look_around(browser, browser.path) == []


def test_confirmation_of_a_deletion(browser):
    browser.sign_in(*ALICE)
    browser.open(f"{WEB}?filter=1.2.*")
    browser.find("input[name=tag]").click()
    browser.follow(browser.find("button.danger"))
    look_at_answer(browser)


def test_pages_of_an_api_key(browser):
    browser.sign_in(*ALICE)
    browser.open("_keys")
    browser.find("#label").send_keys("nightly builds " + "x" * 80)
    browser.follow(browser.find("form.card button"))
    assert "srk_" in browser.find(".new-key").text
    look_at_answer(browser)
    browser.follow(browser.find("a[href*='_key/']"))
    assert look_around(browser, browser.path) == []


def look_at_answer(browser: Browser) -> None:
    """Look at a page that answers a form, so that it cannot be opened again."""
    for width in WIDTHS:
        browser.resize(width)
        assert browser.overhang() <= 0
        assert browser.barriers() == []


def test_hostile_texts_are_shown_as_text(browser):
    browser.sign_in(*ALICE)
    browser.open(f"{HOSTILE}/_tags/latest")
    assert SCRIPT in browser.text
    assert "{{ 7 * 7 }}" in browser.text
    addresses = [link.get_attribute("href") for link in browser.driver.find_elements(By.TAG_NAME, "a")]
    assert all((address or "").startswith("http") for address in addresses)
    foreign = [link for link in browser.driver.find_elements(By.CSS_SELECTOR, "a[rel]") if "noopener" in rel(link)]
    assert all({"noopener", "noreferrer", "nofollow"} <= set(rel(link).split()) for link in foreign)


def rel(link: Any) -> str:
    return link.get_attribute("rel") or ""


def tags(server: RegistryServer) -> list[str]:
    found: list[str] = json.loads(UserClient(server.host, *ALICE).request("GET", f"/v2/{WEB}/tags/list").body)["tags"]
    return found


def test_user_finds_an_image_and_copies_its_command(browser, server):
    browser.sign_in(*ALICE)
    browser.find("#find").send_keys("1.11.7")
    browser.enter(Keys.ENTER)
    browser.follow(browser.link_that("1.11.7"))
    assert "1.11.7" in browser.find("h1").text
    browser.find("[data-copy^='docker pull']").click()
    browser.find("#find").clear()
    browser.find("#find").send_keys(Keys.CONTROL, "v")
    copied = browser.find("#find").get_attribute("value")
    assert copied.startswith(f"docker pull registry.test:{server.port}/{WEB}")


def test_copying_shows_that_it_is_done(browser):
    browser.open(NGINX)
    button = browser.find("[data-copy]")
    button.click()
    assert browser.find("[data-copy][data-done]") == button


def choose_two_tags(browser: Browser, pattern: str) -> list[str]:
    """Open a list of tags, and select the first two."""
    browser.open(f"{WEB}?filter={pattern}")
    boxes = browser.driver.find_elements(By.CSS_SELECTOR, "input[name=tag]")[:2]
    for box in boxes:
        box.click()
    return [box.get_attribute("value") or "" for box in boxes]


def delete_and_undo(browser: Browser, server: RegistryServer, pattern: str) -> None:
    chosen = choose_two_tags(browser, pattern)
    browser.follow(browser.find("button.danger"))
    assert all(tag in browser.text for tag in chosen)
    browser.follow(browser.find("button.danger"))
    assert "2" in browser.find("[role=status]").text
    assert not set(chosen) & set(tags(server))
    browser.follow(browser.find("[role=status] button"))
    assert set(chosen) <= set(tags(server))


def test_user_deletes_two_tags_and_undoes_that_by_mouse(browser, server):
    browser.sign_in(*ALICE)
    delete_and_undo(browser, server, "1.3.*")


def test_user_works_without_javascript(browser, server):
    with browser.without_javascript():
        browser.sign_in(*ALICE)
        assert browser.find(".user").text == "alice"
        browser.find("#find").send_keys(WEB)
        browser.enter(Keys.ENTER)
        browser.follow(browser.link_that(WEB))
        delete_and_undo(browser, server, "1.4.*")
        delete_and_restore(browser, server, "1.6.0")
        browser.follow(browser.find("footer button[lang=zh]"))
        assert browser.find("html").get_attribute("lang") == "zh"
        browser.follow(browser.find(".who button"))
        assert "alice" not in browser.text


def delete_and_restore(browser: Browser, server: RegistryServer, tag: str) -> None:
    """Delete a tag by the API, and restore it on the page."""
    UserClient(server.host, *ALICE).delete_manifest(WEB, tag)
    browser.open("_trash")
    row = next(row for row in browser.driver.find_elements(By.CSS_SELECTOR, "tbody tr") if tag in row.text)
    browser.follow(row.find_element(By.CSS_SELECTOR, "form button"))
    assert tag in tags(server)


def sign_in_by_keyboard(browser: Browser) -> None:
    browser.open()
    browser.go_to("a.button", text="Sign in")
    browser.enter(Keys.ENTER)
    browser.go_to("#user")
    browser.press("alice", Keys.TAB, "secret")
    browser.enter(Keys.ENTER)
    assert browser.find(".user").text == "alice"


def test_user_deletes_two_tags_and_undoes_that_by_keyboard(browser, server):
    sign_in_by_keyboard(browser)
    browser.go_to("#find")
    browser.press(WEB)
    browser.enter(Keys.ENTER)
    browser.go_to("main a", text=WEB)
    browser.enter(Keys.ENTER)
    browser.go_to("#filter")
    browser.press("1.5.*")
    browser.enter(Keys.ENTER)
    for _ in range(2):
        browser.go_to("input[name=tag]")
        browser.press(Keys.SPACE)
    for _ in range(2):
        browser.go_to("button.danger")
        browser.enter(Keys.ENTER)
    assert len([tag for tag in tags(server) if tag.startswith("1.5.")]) == 8
    browser.go_to("[role=status] button")
    browser.enter(Keys.ENTER)
    assert len([tag for tag in tags(server) if tag.startswith("1.5.")]) == 10


def test_user_restores_from_the_trash_and_signs_out_by_keyboard(browser, server):
    sign_in_by_keyboard(browser)
    UserClient(server.host, *ALICE).delete_manifest(WEB, "1.6.2")
    browser.go_to("nav a", text="Trash")
    browser.enter(Keys.ENTER)
    # The newest entry is the first.
    browser.go_to("tbody form button")
    browser.enter(Keys.SPACE)
    assert "1.6.2" in tags(server)
    browser.go_to("footer button", text="Dark")
    browser.enter(Keys.SPACE)
    assert browser.find("html").get_attribute("data-theme") == "dark"
    browser.go_to(".who button")
    browser.enter(Keys.ENTER)
    assert "alice" not in browser.text


def test_user_restores_from_the_trash_and_signs_out_by_mouse(browser, server):
    browser.open("_trash")
    browser.find("#user").send_keys("alice")
    browser.find("#password").send_keys("secret")
    browser.follow(browser.find("form.narrow button"))
    assert browser.path == "_trash"
    delete_and_restore(browser, server, "1.6.1")
    browser.follow(browser.find(".who button"))
    assert "alice" not in browser.text


def test_skip_link_leads_to_the_content(browser):
    browser.open()
    browser.go_to("a.skip")
    browser.press(Keys.ENTER)
    assert browser.driver.switch_to.active_element.get_attribute("id") == "main"
