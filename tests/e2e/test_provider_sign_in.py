"""Sign-in at an identity provider in Debian's chromium, then a push with a key that is made on the page."""

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.browser import HOST, Browser, open_browser
from tests.support.clients import CommandError, Skopeo
from tests.support.commands import run_beside
from tests.support.oci import make_image, write_layout
from tests.support.processes import RegistryServer
from tests.support.sign_in_provider import CLIENT, SECRET, SignInProvider

pytestmark = pytest.mark.e2e

RULES = [{"who": ["@oidc:dev"], "repositories": ["team/**"], "actions": ["pull", "push"]}]


@pytest.fixture(scope="module")
def provider() -> Iterator[SignInProvider]:
    with SignInProvider() as running:
        running.people.has_link = True
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, provider: SignInProvider) -> Iterator[RegistryServer]:
    folder = tmp_path_factory.mktemp("sign-in")
    secret = folder / "secret"
    secret.write_text(f"{SECRET}\n")
    oidc = {"issuer": provider.url, "clientid": CLIENT, "clientsecretfile": str(secret), "label": "Example"}
    config = {"auth": {"oidc": oidc}, "access": {"rules": RULES}}
    with RegistryServer(folder, folder / "storage", config=config) as running:
        provider.redirect_uris = {f"http://{HOST}:{running.port}/ui/_callback"}
        yield running


@pytest.fixture
def browser(server: RegistryServer, tool: Callable[[str], str]) -> Iterator[Browser]:
    tool("chromium")
    tool("chromedriver")
    with open_browser(server.port) as running:
        running.prefer()
        yield running
        assert running.troubles() == []


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return write_layout(tmp_path / "layout", make_image(7, layer_sizes=(1_000,)), "v1")


@pytest.fixture
def skopeo(tmp_path: Path, server: RegistryServer, tool: Callable[[str], str]) -> Skopeo:
    tool("skopeo")
    return Skopeo(tmp_path / "home", server.host)


def sign_in(browser: Browser, provider: SignInProvider) -> None:
    """Sign in by the button, and return from the provider by a link of its page."""
    browser.open("_sign-in?next=_search")
    assert browser.barriers() == []
    browser.follow(browser.find("a[href*=_provider]"))
    assert urlsplit(browser.driver.current_url).netloc == urlsplit(provider.url).netloc
    cookie = browser.cookie("registry_sign_in")
    assert cookie is not None
    assert (cookie["sameSite"], cookie["httpOnly"]) == ("Lax", True)
    # A link of another site: browsers send Lax cookies along, and withhold Strict ones.
    browser.follow(browser.find("a"))
    assert (browser.path, provider.faults) == ("_search", [])
    assert browser.cookie("registry_sign_in") is None


def make_key(browser: Browser) -> str:
    """Create a key that may push, and return it."""
    browser.open("_keys")
    browser.find("input[name=label]").send_keys("laptop")
    browser.find("input[name=actions][value=push]").click()
    browser.follow(browser.find("main form button.primary"))
    [key] = {word for word in browser.text.split() if word.startswith("srk_")}
    return key


def test_person_signs_in_makes_a_key_and_pushes_with_it(browser, provider, server, layout, skopeo):
    sign_in(browser, provider)
    assert "oidc:alice" in browser.text
    skopeo.run("login", "--tls-verify=false", "-u", "anything", "-p", make_key(browser), server.host)
    skopeo.push(layout, "v1", "team/app:v1")
    with pytest.raises(CommandError):
        skopeo.push(layout, "v1", "other/app:v1")
    assert "oidc:alice  signed in 20" in run_beside(server, "users", "list").stdout

    browser.open()
    browser.follow(browser.find("header .who button"))
    assert "You have signed out of the registry" in browser.text
    assert browser.barriers() == []
    assert browser.has(f"main a[href^='{provider.url}/logout?client_id=']")
    browser.open("_callback?state=old&code=old")
    assert "This sign-in is not valid any more" in browser.text
    assert browser.barriers() == []

    assert run_beside(server, "users", "remove", "oidc:alice").stdout == "removed oidc:alice and revoked 1 API keys\n"
