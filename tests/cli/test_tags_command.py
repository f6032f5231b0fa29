"""`registry tags NAME`."""

import json
import re

import pytest

from core.model import media_types
from core.model.digest import Digest
from core.model.events import UNNAMED
from core.model.names import Tag
from entrypoints.cli import main
from entrypoints.exit_codes import ExitCode
from tests.cli.conftest import WriteConfig
from tests.support.command_store import DIGEST, IMAGE, NAME, OTHER, delete, lines, on_store, push
from tests.support.content import descriptor, image_manifest


@pytest.fixture
def config_file(write_config: WriteConfig) -> str:
    return str(write_config(access={"immutabletags": [{"tags": ["v1"]}]}))


@pytest.fixture(autouse=True)
def _images(_clean_environment: None, config_file: str) -> None:
    push(config_file, "v1", "v2")
    push(config_file, "small", manifest=OTHER)


def columns(line: str) -> list[str]:
    return [column for column in re.split(" {2,}", line) if not column.endswith("Z")]


def test_tags_are_listed(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tags", NAME, config_file]) == ExitCode.OK
    *tags, count = lines(capsys)
    assert [columns(line) for line in tags] == [
        ["small", Digest.of(OTHER)[:19], f"{len(OTHER) + 2} B", media_types.OCI_MANIFEST],
        ["v1", DIGEST[:19], f"{len(IMAGE) + 7} B", media_types.OCI_MANIFEST, "immutable"],
        ["v2", DIGEST[:19], f"{len(IMAGE) + 7} B", media_types.OCI_MANIFEST],
    ]
    assert len({line.index("sha256:") for line in tags}) == 1
    assert count == "3 tags"


def test_tags_are_sorted_and_filtered(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tags", NAME, config_file, "--sort=-size", "--filter", "*[!x]", "--json"]) == ExitCode.OK
    assert lines(capsys) == []
    assert main(["tags", NAME, config_file, "--sort=-name", "--filter", "v?", "--json"]) == ExitCode.OK
    assert [json.loads(line)["name"] for line in lines(capsys)] == ["v2", "v1"]
    assert main(["tags", NAME, config_file, "--platform", "linux/arm64"]) == ExitCode.OK
    assert lines(capsys) == ["0 tags"]


def test_referrers_are_listed(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    subject = descriptor(OTHER, media_types.OCI_MANIFEST)
    signature = image_manifest(b"{}", subject=subject, artifactType="a/signature")
    on_store(
        config_file,
        lambda registry: registry.push_manifest(NAME, signature, media_types.OCI_MANIFEST, by=UNNAMED),
    )
    assert main(["tags", NAME, config_file, "--filter=small", "--referrers"]) == ExitCode.OK
    assert lines(capsys)[1] == f"  <- {Digest.of(signature)[:19]}  {len(signature)} B  a/signature"


def test_the_history_of_a_tag_is_listed(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    push(config_file, "v2", manifest=OTHER)
    delete(config_file, Tag("v2"))
    assert main(["tags", NAME, config_file, "--history", "v2"]) == ExitCode.OK
    *changes, count = lines(capsys)
    small, large = f"{Digest.of(OTHER)[:19]}  {len(OTHER)} B", f"{DIGEST[:19]}  {len(IMAGE)} B"
    assert [line.partition("Z  ")[2] for line in changes] == [
        f"delete   {small}  alice",
        f"push     {small}",
        f"push     {large}",
    ]
    assert count == "3 changes"
    assert main(["tags", NAME, config_file, "--history", "v2", "--json"]) == ExitCode.OK
    deletion = json.loads(lines(capsys)[0])
    assert deletion.pop("time").endswith("Z")
    assert deletion == {
        "change": "delete",
        "digest": Digest.of(OTHER),
        "mediaType": media_types.OCI_MANIFEST,
        "size": len(OTHER),
        "by": "alice",
    }


def test_changes_that_only_links_show_are_marked(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    tags = [Tag("x")]
    on_store(config_file, lambda registry: registry.manifests.put(NAME, OTHER, media_types.OCI_MANIFEST, tags=tags))
    assert main(["tags", NAME, config_file, "--history", "x"]) == ExitCode.OK
    assert lines(capsys)[0].endswith("(not recorded)")


def test_long_histories_are_listed_page_by_page(
    config_file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("entrypoints.commands.tag_history._PAGE", 1)
    delete(config_file, Tag("v2"))
    assert main(["tags", NAME, config_file, "--history", "v2"]) == ExitCode.OK
    assert lines(capsys)[-1] == "2 changes"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no/such"], "repository name not known to registry"),
        (["Team"], "invalid repository name"),
        ([NAME, "--sort=age"], "sort must be one of"),
        ([NAME, "--history=-"], "invalid tag"),
        ([NAME, "--history=v1", "--referrers"], "--history excludes"),
    ],
)
def test_mistakes_are_explained(
    words: list[str], message: str, config_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tags", words[0], config_file, *words[1:]]) != ExitCode.OK
    assert capsys.readouterr().err.startswith(f"registry: {message}")
