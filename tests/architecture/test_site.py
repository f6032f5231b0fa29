"""The documentation site builds without a broken link, and contacts no other host."""

import os
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

import pytest

from tests.architecture.test_lock_file import read_project
from tests.support.tools import REPOSITORY_ROOT

MKDOCS: Final = REPOSITORY_ROOT / ".cache" / "docs" / "bin" / "mkdocs"
LOADED: Final = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}
"""Elements that make a browser load a file, and the attribute that names the file."""


class LoadedFiles(HTMLParser):
    """Collects the addresses that a browser loads with a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if values.get("rel") not in {"next", "prev", "canonical", "alternate"}:
            self.addresses.add(values.get(LOADED.get(tag, "")) or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory, unavailable) -> Path:
    if not MKDOCS.exists():
        unavailable("mkdocs is not installed; `make docs` installs it")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [MKDOCS, "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=REPOSITORY_ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_site_has_a_page_for_each_document(site) -> None:
    documents = {path.relative_to(REPOSITORY_ROOT / "docs") for path in (REPOSITORY_ROOT / "docs").rglob("*.md")}
    pages = {path.relative_to(site).with_suffix(".md") for path in site.rglob("*.html")} - {Path("404.md")}
    assert pages == documents


def test_pages_load_nothing_from_other_hosts(site) -> None:
    collector = LoadedFiles()
    for page in site.rglob("*.html"):
        collector.feed(page.read_text())
    assert any(address.endswith(".js") for address in collector.addresses)
    assert [address for address in collector.addresses if re.match(r"(?:\w+:)?//", address)] == []
    styles = "".join(path.read_text() for path in site.rglob("*.css"))
    assert re.findall(r"url\(['\"]?(?:https?:)?//[^)]*\)", styles) == []


def test_each_language_has_its_own_navigation(site) -> None:
    english, chinese = ((site / page).read_text() for page in ("caching.html", "zh-CN/pull-through-cache.html"))
    assert '<html lang="en"' in english
    assert "zh-CN/pull-through-cache.html" not in english
    assert '<html lang="zh"' in chinese
    assert "caching.html" not in re.sub(r"(?s)<article.*</article>", "", chinese)


def test_site_shows_its_version(site) -> None:
    assert f"<title>sohu-registry {read_project()['project']['version']}</title>" in (site / "404.html").read_text()
