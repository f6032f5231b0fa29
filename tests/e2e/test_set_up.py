"""`make setup` installs the locked versions on every day: with an old and a new pip, and beside newer releases.

The package index of these tests offers release 9999 of every package.
"""

import io
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.request import urlopen

import pytest

from tests.architecture.test_lock_file import locked_packages, read_project
from tests.support.tools import REPOSITORY_ROOT, find_tool

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900), pytest.mark.usefixtures("trust_of_the_machine")]

CHECKOUT = ("Makefile", "scripts", "pyproject.toml", "uv.lock", "README.md", "LICENSE")
SOURCES = ("core", "adapters", "config", "entrypoints")
DEBIAN_12_PIP = "pip==23.0.1"
NEWEST_PIP = "pip"


class NewerReleases(BaseHTTPRequestHandler):
    """A simple index (PEP 503): release 9999 of each package, and PyPI's own files of uv, which pip installs."""

    def do_GET(self) -> None:
        if wheel := re.fullmatch(r"/files/(\w+)-9999-py3-none-any\.whl", self.path):
            self.send(make_wheel(wheel[1]), "application/octet-stream")
            return
        name = self.path.removeprefix("/simple/").strip("/")
        links = f'<a href="/files/{name.replace("-", "_")}-9999-py3-none-any.whl">9999</a>\n'
        if name == "uv":
            with urlopen("https://pypi.org/simple/uv/", timeout=60) as page:
                links += page.read().decode().partition("<body>")[2].partition("</body>")[0]
        self.send(f"<!DOCTYPE html><html><body>{links}</body></html>".encode(), "text/html")

    def do_HEAD(self) -> None:
        self.do_GET()

    def send(self, body: bytes, media_type: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Print nothing."""


def make_wheel(name: str) -> bytes:
    """Return an empty package of release 9999."""
    folder = f"{name}-9999.dist-info"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(f"{folder}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 9999\n")
        archive.writestr(f"{folder}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{folder}/RECORD", "")
    return content.getvalue()


@contextmanager
def index_of_newer_releases() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), NewerReleases)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/simple"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run(*command: str | Path, environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


def installed_versions(python: Path) -> dict[str, str]:
    listing = run(find_tool("uv"), "pip", "freeze", "--exclude-editable", "--python", python)
    return dict(line.split("==") for line in listing.split())


@pytest.fixture(params=[DEBIAN_12_PIP, NEWEST_PIP], ids=["debian-12-pip", "newest-pip"])
def outer_python(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Make the Python of a machine, with a pip of its own."""
    folder = tmp_path / "machine"
    run(find_tool("uv"), "venv", "--python", sys.executable, folder)
    run(find_tool("uv"), "pip", "install", "--upgrade", "--python", folder / "bin" / "python", request.param)
    return folder / "bin" / "python"


def test_locked_versions_win_over_newer_releases(outer_python: Path, tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    run("cp", "-r", *(REPOSITORY_ROOT / name for name in (*CHECKOUT, *SOURCES)), checkout)
    with index_of_newer_releases() as index:
        settings = {"PIP_INDEX_URL": index, "PIP_NO_CACHE_DIR": "1", "UV_DEFAULT_INDEX": index}
        run("make", "-C", checkout, "setup", f"PYTHON={outer_python}", environment=settings)

    installed = installed_versions(checkout / ".venv" / "bin" / "python")
    assert len(installed) > 60
    assert installed.items() <= {(package["name"], package["version"]) for package in locked_packages()}
    version = run(checkout / ".venv" / "bin" / "registry", "--version", environment={"PYTHONPATH": ""})
    assert version == f"registry sohu-registry v{read_project()['project']['version']}\n"


def test_index_offers_newer_releases(tmp_path: Path) -> None:
    """The test above proves something only if an installation without the lock takes the newer release."""
    run(find_tool("uv"), "venv", "--python", sys.executable, tmp_path)
    python = tmp_path / "bin" / "python"
    with index_of_newer_releases() as index:
        run(find_tool("uv"), "pip", "install", "--no-cache", "--python", python, "--index-url", index, "coverage")
    assert installed_versions(python) == {"coverage": "9999"}
