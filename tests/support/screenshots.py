"""Pictures of the web page for the README: `make screenshots` runs this module."""

import tempfile
from pathlib import Path
from typing import Final

from tests.support.browser import Browser, open_browser
from tests.support.demo_store import NGINX, WEB, DemoStore
from tests.support.htpasswd import write_htpasswd
from tests.support.processes import RegistryServer
from tests.support.tools import REPOSITORY_ROOT

PICTURES: Final = REPOSITORY_ROOT / "docs" / "pictures"
VIEWS: Final = {
    "overview": ("", "light", "en"),
    "repository": (WEB, "light", "en"),
    "image": (f"{NGINX}/_tags/latest", "dark", "en"),
    "trash": ("_trash", "light", "en"),
    "overview-zh": ("", "dark", "zh"),
}
"""The path, theme and language of each picture."""
_HOST: Final = "registry.example.com"
_USER: Final = ("alice", "secret")


def main() -> None:
    """Fill a registry, open its pages, and write the pictures."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        users = write_htpasswd(folder / "htpasswd", alice="secret")
        config = {"auth": {"htpasswd": {"realm": "registry", "path": str(users)}}}
        rules = [{"who": ["alice"], "actions": ["pull", "push", "delete", "catalog", "admin"]}]
        with RegistryServer(folder, folder / "storage", config={**config, "access": {"rules": rules}}) as server:
            DemoStore(server.host, user=_USER, layer_percent=100, is_hostile=False).fill()
            with open_browser(server.port) as browser:
                _take_all(browser)


def _take_all(browser: Browser) -> None:
    browser.appear_as(_HOST)
    browser.resize(1280, 800)
    browser.sign_in(*_USER)
    # The overview and the repository show the result of the last measurement.
    browser.open("_usage")
    browser.follow(browser.find("main form button"))
    browser.reload_until("main table")
    for name, (path, theme, language) in VIEWS.items():
        browser.prefer(theme=theme, language=language)
        browser.open(path)
        picture = PICTURES / f"{name}.png"
        browser.picture(picture)
        print(f"{picture.relative_to(REPOSITORY_ROOT)}: {picture.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
