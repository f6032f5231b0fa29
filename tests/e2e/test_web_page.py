"""The web page in a real browser: errors, requests, widths, themes, languages, accessibility, and whole tasks."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from tests.support.browser import Browser, open_browser
from tests.support.demo_store import WEB, DemoStore
from tests.support.htpasswd import write_htpasswd
from tests.support.oci import Index
from tests.support.processes import RegistryServer

pytestmark = pytest.mark.e2e

ALICE = ("alice", "secret")
WIDTHS = (360, 768, 1440)
RULES = [
    {"who": ["anonymous"], "repositories": ["public/**"], "actions": ["pull", "catalog"]},
    {"who": ["alice"], "actions": ["pull", "push", "delete", "catalog", "admin"]},
    {"who": ["bob"], "repositories": ["team/**"], "actions": ["pull", "push", "catalog"]},
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    folder = tmp_path_factory.mktemp("page")
    users = write_htpasswd(folder / "htpasswd", alice="secret", bob="b")
    config = {"auth": {"htpasswd": {"realm": "r", "path": str(users)}}, "access": {"rules": RULES}}
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


def look_around(browser: Browser, path: str) -> None:
    """Look at a page at each width, in each theme and each language.

    Only the colours differ between the themes, and only the texts between the languages.
    """
    found: list[Any] = []
    for language in ("en", "zh"):
        browser.prefer(language=language)
        browser.open(path)
        for width in WIDTHS:
            browser.resize(width)
            if overhang := browser.overhang():
                found.append((language, width, f"wider than the window by {overhang} pixels"))
            if width != 768:
                found += [(language, width, barrier) for barrier in browser.barriers()]
        browser.prefer(theme="dark", language=language)
        found += [(language, "dark", barrier) for barrier in browser.barriers(["color-contrast"])]
    found += browser.troubles()
    assert found == []


@pytest.mark.parametrize("path", ["", "_sign-in", "_nothing", "private/payments"])
def test_pages_of_a_visitor(browser, path):
    look_around(browser, path)


def test_pages_of_a_user(browser):
    browser.sign_in(*ALICE)
    for path in ("", f"?last={WEB}"):
        look_around(browser, path)


def test_user_signs_in_and_out_by_mouse(browser):
    browser.open()
    browser.follow(browser.link("Sign in"))
    browser.find("#user").send_keys("alice")
    browser.find("#password").send_keys("secret")
    browser.follow(browser.find("form.narrow button"))
    assert browser.find(".user").text == "alice"
    browser.follow(browser.find(".who button"))
    assert "alice" not in browser.text


def test_user_signs_in_and_out_by_keyboard(browser):
    browser.open()
    browser.go_to("a.button", text="Sign in")
    browser.enter(Keys.ENTER)
    browser.go_to("#user")
    browser.press("alice", Keys.TAB, "secret")
    browser.enter(Keys.ENTER)
    assert browser.find(".user").text == "alice"
    browser.go_to("footer button", text="Dark")
    browser.enter(Keys.SPACE)
    assert browser.find("html").get_attribute("data-theme") == "dark"
    browser.go_to(".who button")
    browser.enter(Keys.ENTER)
    assert "alice" not in browser.text


def test_user_signs_in_and_out_without_javascript(browser):
    with browser.without_javascript():
        browser.sign_in(*ALICE)
        assert browser.find(".user").text == "alice"
        browser.follow(browser.find("footer button[lang=zh]"))
        assert browser.find("html").get_attribute("lang") == "zh"
        browser.follow(browser.find(".who button"))
        assert "alice" not in browser.text


def test_skip_link_leads_to_the_content(browser):
    browser.open()
    browser.go_to("a.skip")
    browser.press(Keys.ENTER)
    assert browser.driver.switch_to.active_element.get_attribute("id") == "main"
