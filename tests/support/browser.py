"""Debian's chromium, driven by selenium: one browser that records its errors and its requests to other origins."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from selenium.webdriver import ActionChains, Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.expected_conditions import presence_of_element_located
from selenium.webdriver.support.wait import WebDriverWait

from tests.support.tools import REPOSITORY_ROOT, ToolMissingError, find_tool

HOST = "registry.test"
"""A name that leads to 127.0.0.1. Unlike `localhost`, it is no secure context: the clipboard API does not exist."""
_AXE = REPOSITORY_ROOT / ".cache" / "axe-core" / "axe.min.js"
_PATIENCE_SECONDS = 20
_TABS_MAX = 400
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--force-device-scale-factor=1",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
_IS_FOCUSED = """
const focused = document.activeElement;
const name = focused.getAttribute("aria-label") || focused.textContent;
return [focused.matches(arguments[0]) && name.includes(arguments[1]), getComputedStyle(focused).outlineStyle];
"""
_FIND_PROBLEMS = """
const done = arguments[arguments.length - 1];
const options = {resultTypes: ["violations"]};
if (arguments[0].length) { options.runOnly = {type: "rule", values: arguments[0]}; }
axe.run(document, options).then(
  found => done(found.violations.filter(each => ["serious", "critical"].includes(each.impact)).map(
    each => each.id + ": " + each.nodes.slice(0, 3).map(node => node.html + " " + node.failureSummary).join(" | "))),
  error => done([String(error)]));
"""


class Browser:
    """A browser with one tab.

    Args:
        driver: the session of selenium.
        port: port of the registry on 127.0.0.1.
    """

    def __init__(self, driver: Chrome, port: int) -> None:
        self.driver = driver
        self.root = f"http://{HOST}:{port}"

    # The page and the window

    def open(self, path: str = "") -> None:
        """Open a page below `/ui/`."""
        self.driver.get(f"{self.root}/ui/{path}")

    @property
    def path(self) -> str:
        """The address of the page below `/ui/`, without its query."""
        return urlsplit(self.driver.current_url).path.removeprefix("/ui/")

    @property
    def text(self) -> str:
        """The visible text of the page."""
        return self.driver.find_element(By.TAG_NAME, "body").text

    def resize(self, width: int, height: int = 900) -> None:
        """Set the size of the window, without its frame."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._cdp("Emulation.setDeviceMetricsOverride", **metrics)

    def prefer(self, *, theme: str = "light", language: str = "en") -> None:
        """Set the theme of the system, and the language as the switch of the page does."""
        features = [
            {"name": "prefers-color-scheme", "value": theme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self._cdp("Emulation.setEmulatedMedia", media="", features=features)
        self._cdp("Network.setCookie", name="registry_language", value=language, url=f"{self.root}/ui/", path="/ui/")

    def appear_as(self, host: str) -> None:
        """Show another host name in the texts of the pages, as behind a proxy."""
        self._cdp("Network.enable")
        self._cdp("Network.setExtraHTTPHeaders", headers={"X-Forwarded-Host": host})

    def print_preview(self) -> None:
        """Apply the style of printed pages, until the next call of `prefer`."""
        self._cdp("Emulation.setEmulatedMedia", media="print")

    def cookie(self, name: str) -> dict[str, Any] | None:
        """Return a cookie with its attributes, whatever page is open; None if there is none."""
        cookies: list[dict[str, Any]] = self._cdp("Network.getAllCookies")["cookies"]
        return next((each for each in cookies if each["name"] == name), None)

    def forget(self) -> None:
        """Remove all cookies."""
        self._cdp("Network.clearBrowserCookies")

    # Actions of a visitor

    def find(self, selector: str) -> WebElement:
        """Return the first element of a CSS selector, as soon as there is one."""
        there = presence_of_element_located((By.CSS_SELECTOR, selector))
        return WebDriverWait(self.driver, _PATIENCE_SECONDS).until(there, f"no {selector} in {self.driver.current_url}")

    def reload_until(self, selector: str) -> None:
        """Open the page again until it has an element."""

        def is_there(driver: Chrome) -> bool:
            driver.refresh()
            return self.has(selector)

        WebDriverWait(self.driver, _PATIENCE_SECONDS).until(is_there, f"no {selector} in {self.driver.current_url}")

    def has(self, selector: str) -> bool:
        """Whether the page has an element."""
        return bool(self.driver.find_elements(By.CSS_SELECTOR, selector))

    def link_that(self, text: str) -> WebElement:
        """Return the first link of the content that contains a text."""
        links = self.driver.find_elements(By.CSS_SELECTOR, "main a")
        return next(link for link in links if text in link.text)

    def follow(self, element: WebElement) -> None:
        """Click an element, and wait for the page after it."""
        with self.leaving():
            element.click()

    def press(self, *keys: str) -> None:
        """Press keys one after another."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def go_to(self, selector: str, *, text: str = "") -> WebElement:
        """Move the focus by Tab alone until it is at an element, which must then show that it has the focus.

        Raises:
            AssertionError: no number of Tabs leads there, or the focus is not visible.
        """
        for _ in range(_TABS_MAX):
            self.press(Keys.TAB)
            is_there, outline = self.driver.execute_script(_IS_FOCUSED, selector, text)
            if is_there:
                assert outline != "none", f"the focus of {selector} is invisible"
                return self.driver.switch_to.active_element
        raise AssertionError(f"Tab does not reach {selector} {text!r} in {self.driver.current_url}")

    def enter(self, *keys: str) -> None:
        """Press keys, and wait for the page after them."""
        with self.leaving():
            self.press(*keys)

    @contextmanager
    def leaving(self) -> Iterator[None]:
        """Wait until the page of the block is replaced by another one, which is complete."""
        before = self._page_id()
        yield
        WebDriverWait(self.driver, _PATIENCE_SECONDS).until(
            lambda _: self._page_id() != before, f"{self.driver.current_url} stays open"
        )

    def _page_id(self) -> str:
        """Return the id of the loaded document, which no other document has."""
        loader: str = self._cdp("Page.getFrameTree")["frameTree"]["frame"]["loaderId"]
        return loader

    def sign_in(self, user: str, password: str) -> None:
        """Sign in by the form."""
        self.open("_sign-in")
        self.find("#user").send_keys(user)
        self.find("#password").send_keys(password)
        self.follow(self.find("form.narrow button"))

    @contextmanager
    def without_javascript(self) -> Iterator[None]:
        """Switch JavaScript off for the pages of a block."""
        self._cdp("Emulation.setScriptExecutionDisabled", value=True)
        try:
            yield
        finally:
            self._cdp("Emulation.setScriptExecutionDisabled", value=False)

    # Faults that a visitor must not meet

    def troubles(self) -> list[str]:
        """Return errors of the console (violations of the content security policy too) since the last call.

        Chromium reports each page with an error status as an error of the network; those that tests open are expected.
        """
        return [
            f"{entry['level']}: {entry['message']}"
            for entry in self._log("browser")
            if entry["source"] != "network" or "/_static/" in entry["message"]
        ]

    def foreign_requests(self) -> list[str]:
        """Return the requests to other origins since the last call."""
        foreign = []
        for entry in self._log("performance"):
            event = json.loads(entry["message"])["message"]
            if event["method"] == "Network.requestWillBeSent":
                url = event["params"]["request"]["url"]
                if not url.startswith((f"{self.root}/", "data:")):
                    foreign.append(url)
        return foreign

    def overhang(self) -> int:
        """Return the number of pixels by which the page is wider than the window."""
        width: int = self.driver.execute_script(
            "const root = document.documentElement; return root.scrollWidth - root.clientWidth"
        )
        return width

    def barriers(self, rules: Sequence[str] = ()) -> list[str]:
        """Return the serious and critical findings of axe-core; of some rules only, if there are any."""
        if not self.driver.execute_script("return 'axe' in window"):
            self.driver.execute_script(_axe())
        found: list[str] = self.driver.execute_async_script(_FIND_PROBLEMS, list(rules))
        return found

    def picture(self, path: Path) -> None:
        """Write a PNG file of the window."""
        self.driver.get_screenshot_as_file(str(path))

    def _log(self, kind: str) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self.driver.execute("getLog", {"type": kind})["value"]
        return entries

    def _cdp(self, command: str, **parameters: Any) -> Any:
        return self.driver.execute_cdp_cmd(command, parameters)


@contextmanager
def open_browser(port: int) -> Iterator[Browser]:
    """Start a browser, and end it with the block.

    Raises:
        ToolMissingError: the browser or its driver is not installed.
    """
    options = ChromeOptions()
    options.binary_location = find_tool("chromium")
    options.page_load_strategy = "normal"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        names = f"--host-resolver-rules=MAP {HOST} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
        for flag in (*_FLAGS, names, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        # With both paths selenium looks for no other browser and downloads nothing.
        driver = Chrome(options=options, service=Service(executable_path=find_tool("chromedriver")))
        try:
            driver.set_script_timeout(60)
            yield Browser(driver, port)
        finally:
            driver.quit()


def _axe() -> str:
    if not _AXE.exists():
        raise ToolMissingError("axe-core is not installed; `make tools` gets it")
    return _AXE.read_text()
