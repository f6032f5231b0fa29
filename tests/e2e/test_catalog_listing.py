"""The catalog without an index: names from storage, in order, page by page."""

import json
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.catalogs import make_repositories, pages, push, registries
from tests.support.processes import SERVE_OUR_REGISTRY, RegistryServer
from tests.support.registry_client import RegistryClient
from tests.support.tools import REPOSITORY_ROOT

pytestmark = pytest.mark.e2e

NAMES = ["a", "a-b", "a.b", "a/b", "a/b/c", "a_b", "ab", "b"]
MANY = 3_000


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryClient]:
    with registries(tmp_path_factory.mktemp("listed"), {"SEARCH_BACKEND": ""}) as [server]:
        client = RegistryClient(server.host)
        push(client, *reversed(NAMES))
        yield client


@pytest.mark.parametrize("n", range(1, len(NAMES) + 2))
def test_pages_of_any_size_join_to_the_names_in_order(listed: RegistryClient, n: int) -> None:
    found = list(pages(listed, f"/v2/_catalog?n={n}"))
    assert [name for page in found for name in page] == NAMES
    assert all(len(page) == n for page in found[:-1])


def test_repository_is_listed_from_its_first_blob_not_from_its_first_upload(tmp_path: Path) -> None:
    with registries(tmp_path, {"SEARCH_BACKEND": ""}) as [server]:
        client = RegistryClient(server.host)
        client.start_upload("team/app").expect(202)
        assert client.catalog() == []
        client.push_blob("team/app", b"layer")
        assert client.catalog() == ["team/app"]


def test_link_is_exact(listed: RegistryClient) -> None:
    answer = listed.request("GET", "/v2/_catalog?n=4").expect(200)
    assert answer.header("Link") == '</v2/_catalog?last=a%2Fb&n=4>; rel="next"'
    assert "Link" not in listed.request("GET", f"/v2/_catalog?n={len(NAMES)}").expect(200).headers
    assert "Link" not in listed.request("GET", "/v2/_catalog").expect(200).headers


@pytest.mark.parametrize("n", ["-1", "1001", "9" * 400, "x", "1.5", "+1", "%201", "1_0", "0x1", "%D9%A3", "%00", "%FF"])
def test_invalid_n_is_refused(listed: RegistryClient, n: str) -> None:
    answer = listed.request("GET", f"/v2/_catalog?n={n}").expect(400)
    assert [error["code"] for error in json.loads(answer.body)["errors"]] == ["PAGINATION_NUMBER_INVALID"]


def test_n_may_be_zero_empty_or_the_maximum(listed: RegistryClient) -> None:
    nothing = listed.request("GET", "/v2/_catalog?n=0").expect(200)
    assert (json.loads(nothing.body), nothing.headers.get("Link")) == ({"repositories": []}, None)
    for n in ("", "1000"):
        assert json.loads(listed.request("GET", f"/v2/_catalog?n={n}").expect(200).body) == {"repositories": NAMES}


@pytest.mark.parametrize(
    "last", ["", "0", "A", "a", "a ", "a-", "a/", "a/b", "a/b/", "a/bb", "a~", "b", "../..", "é", "\0"]
)
def test_last_is_any_text_that_names_are_greater_than(listed: RegistryClient, last: str) -> None:
    answer = listed.request("GET", f"/v2/_catalog?last={quote(last, safe='')}").expect(200)
    assert json.loads(answer.body)["repositories"] == [name for name in NAMES if name > last]


def test_invalid_utf_8_in_last_is_no_error(listed: RegistryClient) -> None:
    listed.request("GET", "/v2/_catalog?last=%FF%C3").expect(200)
    listed.request("GET", f"/v2/_catalog?last={'a' * 4000}").expect(200)


def test_wrong_backend_refuses_to_start_and_lists_the_choices(tmp_path: Path) -> None:
    server = RegistryServer(tmp_path, tmp_path / "storage", environment={"SEARCH_BACKEND": "REDIS"})
    done = subprocess.run(
        [*SERVE_OUR_REGISTRY, str(server.config_path)],
        env=server.environment,
        cwd=REPOSITORY_ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.endswith("SEARCH_BACKEND: `catalog.backend` must be one of LISTING, MYSQL, LOCAL, not `REDIS`\n")


def test_page_of_many_repositories_is_fast_after_the_start(tmp_path: Path) -> None:
    """100,000 are measured by `python -m tests.benchmarks.catalog_listing`; a disk takes minutes to make them."""
    names = sorted(f"team-{n % 40:02}/app-{n // 40:02}" for n in range(MANY))
    make_repositories(tmp_path / "storage", names)
    with registries(tmp_path, {}) as [server]:
        client = RegistryClient(server.host)
        seconds = []
        for start in range(0, MANY - 100, 100):
            asked = time.monotonic()
            answer = client.request("GET", f"/v2/_catalog?n=100&last={names[start]}").expect(200)
            seconds.append(time.monotonic() - asked)
            assert json.loads(answer.body)["repositories"] == names[start + 1 : start + 101]
    assert statistics.median(seconds) < 0.1
