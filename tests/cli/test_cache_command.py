"""`registry cache list|status|warm|evict`."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from core.model import media_types
from core.model.digest import Digest
from core.model.events import UNNAMED
from core.model.names import RepositoryName, Tag
from core.registry.facade import Registry
from entrypoints.cli import main
from entrypoints.exit_codes import ExitCode
from tests.cli.conftest import WriteConfig
from tests.support.command_store import lines, on_store
from tests.support.content import image_manifest
from tests.support.core_services import chunks
from tests.support.oci import make_image
from tests.support.upstream_server import UpstreamServer

ALPINE, LOCAL = RepositoryName("hub.example/library/alpine"), RepositoryName("app")
SETTLE = {"maintenance": {"garbagecollect": {"settletime": "2s"}}}


@pytest.fixture
def upstream() -> Iterator[UpstreamServer]:
    with UpstreamServer() as server:
        yield server


@pytest.fixture
def config_file(write_config: WriteConfig, upstream: UpstreamServer) -> str:
    section = {"prefix": "hub.example", "defaultnamespace": "library", "urls": [upstream.url]}
    return str(write_config(storage=SETTLE, proxy={"upstreams": [section], "limits": {"keep": ["**/alpine:keep"]}}))


def store(config_file: str, name: RepositoryName, config: bytes, *tags: str) -> Digest:
    """Store an image without asking an upstream."""
    manifest = image_manifest(config, [b"layer"])

    async def work(registry: Registry) -> None:
        for content in (config, b"layer"):
            await registry.uploads.put(name, Digest.of(content), chunks(content))
        names = [Tag(tag) for tag in tags]
        await registry.push_manifest(name, manifest, media_types.OCI_MANIFEST, by=UNNAMED, tags=names)

    on_store(config_file, work)
    return Digest.of(manifest)


def documents(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(capsys)]


def cached(config_file: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the tags of the cache."""
    capsys.readouterr()
    assert main(["cache", "list", config_file, "--json"]) == ExitCode.OK
    return sorted(tag for document in documents(capsys) for tag in document["tags"])


def test_list_shows_cached_images(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    digest = store(config_file, ALPINE, b"{}", "3", "latest")
    store(config_file, LOCAL, b"{}", "v1")
    assert main(["cache", "list", config_file]) == ExitCode.OK
    image, total = lines(capsys)
    name, short, size, used, checked = image.split("  ")
    assert (name, short) == (f"{ALPINE}:3,latest", digest[:19])
    assert size == f"{len(image_manifest(b'{}', [b'layer'])) + len(b'{}layer')} B"
    assert used.startswith("used ")
    assert checked == "never checked"
    assert total == f"1 image, {size} in the cache"
    assert main(["cache", "list", config_file, "--json", "--repository", "hub.example/alpine"]) == ExitCode.OK
    [document] = documents(capsys)
    assert document["repository"] == ALPINE
    assert document["tags"] == {"3": None, "latest": None}
    assert main(["cache", "list", config_file, "--json", "--repository", "hub.example/other"]) == ExitCode.OK
    assert documents(capsys) == []


def test_status_shows_each_upstream(
    config_file: str, upstream: UpstreamServer, capsys: pytest.CaptureFixture[str]
) -> None:
    store(config_file, ALPINE, b"{}", "latest")
    before = len(upstream.seen)
    assert main(["cache", "status", config_file]) == ExitCode.OK
    assert len(upstream.seen) == before, "only --check asks the upstream"
    line, total = lines(capsys)
    assert line.startswith("hub.example: 1 image, ")
    assert total.startswith("1 image, ")
    assert main(["cache", "status", config_file, "--check", "--json"]) == ExitCode.OK
    [document] = documents(capsys)
    assert document["images"] == 1
    assert document["upstreams"][0]["error"] is None
    upstream.close()
    assert main(["cache", "status", config_file, "--check"]) == ExitCode.FAILURE
    assert "fails: " in lines(capsys)[0]


def test_evict_removes_an_image(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    store(config_file, ALPINE, b'{"a":1}', "gone")
    store(config_file, ALPINE, b"{}", "stays")
    assert main(["cache", "evict", f"{ALPINE}:gone", config_file, "--dry-run"]) == ExitCode.OK
    assert lines(capsys)[:1] == [f"{ALPINE}:gone"]
    assert cached(config_file, capsys) == ["gone", "stays"]
    assert main(["cache", "evict", "hub.example/alpine:gone", config_file]) == ExitCode.OK
    first, total = lines(capsys)
    assert first == f"{ALPINE}:gone"
    assert total.startswith("1 image evicted, ")
    assert cached(config_file, capsys) == ["stays"]
    assert main(["trash", "list", config_file]) == ExitCode.OK
    assert lines(capsys) == ["the trash is empty"]


def test_evict_removes_a_repository_or_a_digest_at_once_without_servers(
    config_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = store(config_file, ALPINE, b'{"a":1}')
    assert main(["cache", "evict", f"{ALPINE}@{digest}", config_file, "--offline", "--json"]) == ExitCode.OK
    [document] = documents(capsys)
    assert document["images"] == [{"repository": ALPINE, "tags": [], "digest": digest}]
    assert document["bytesRemoved"] == document["bytesBefore"]
    store(config_file, ALPINE, b"{}", "keep")
    assert main(["cache", "evict", ALPINE, config_file, "--offline"]) == ExitCode.OK
    assert cached(config_file, capsys) == []


def test_evict_by_condition_keeps_the_images_of_the_configuration(
    config_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store(config_file, ALPINE, b'{"a":1}', "keep")
    store(config_file, ALPINE, b"{}", "gone")
    assert main(["cache", "evict", "--unused", "1d", config_file]) == ExitCode.OK
    assert lines(capsys)[0].startswith("0 images evicted")
    assert main(["cache", "evict", "--to-size", "0", config_file, "--offline"]) == ExitCode.OK
    assert cached(config_file, capsys) == ["keep"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["evict", "hub.example/none"], ExitCode.NOT_FOUND, "is not in the cache"),
        (["evict", "app"], ExitCode.FAILURE, "local repository"),
        (["warm", "app:v1"], ExitCode.FAILURE, "local repository"),
    ],
)
def test_image_that_is_not_cached_is_an_error(
    config_file: str, capsys: pytest.CaptureFixture[str], words: list[str], code: ExitCode, message: str
) -> None:
    store(config_file, LOCAL, b"{}", "v1")
    assert main(["cache", *words, config_file]) == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [["evict"], ["evict", "--unused", "30"], ["evict", "--unused", "soon"], ["evict", "--to-size", "big"],
     ["evict", "a", "b", "c"]],
)  # fmt: skip
def test_wrong_arguments_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["cache", *words])
    assert caught.value.code == ExitCode.USAGE
    assert capsys.readouterr().err


def test_registry_without_a_cache_says_so(write_config: WriteConfig, capsys: pytest.CaptureFixture[str]) -> None:
    config_file = str(write_config())
    store(config_file, LOCAL, b"{}", "v1")
    assert main(["cache", "list", config_file]) == ExitCode.FAILURE
    assert "there is no cache" in capsys.readouterr().err


def test_warm_fetches_an_image(config_file: str, upstream: UpstreamServer, capsys: pytest.CaptureFixture[str]) -> None:
    upstream.content.add("library/alpine", make_image(1), "3.20")
    assert main(["cache", "warm", "hub.example/alpine:3.20", config_file]) == ExitCode.OK
    assert "fetched" in lines(capsys)[0]
    assert cached(config_file, capsys) == ["3.20"]
    asked = upstream.count("blob GET")
    assert main(["cache", "warm", "hub.example/alpine:3.20", config_file, "--json"]) == ExitCode.OK
    [document] = documents(capsys)
    assert (document["fetched"], upstream.count("blob GET")) == (0, asked)
    upstream.close()
    assert main(["cache", "warm", "hub.example/alpine:other", config_file]) == ExitCode.STORAGE
