"""`registry copy` with URLs: what is copied, credentials, cut connections, kills, reports and refused arguments."""

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from entrypoints.cli import main
from entrypoints.commands.registry_urls import parse_registry_url
from entrypoints.exit_codes import ExitCode
from tests.support.content import image_manifest
from tests.support.growing_folders import sizes_of_files
from tests.support.oci import OCI_MANIFEST, digest_of, make_artifact, make_image, make_multi_platform_index
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient
from tests.support.tools import REPOSITORY_ROOT
from tests.support.upstream_server import UpstreamServer

NAME = "team/app"
MIB = 1024 * 1024


@pytest.fixture
def upstream() -> Iterator[UpstreamServer]:
    with UpstreamServer() as server:
        yield server


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    return tmp_path / "home"


@pytest.fixture
def target(tmp_path: Path) -> RegistryServer:
    """Our registry, not running yet; commands use its configuration file."""
    return RegistryServer(tmp_path / "target", tmp_path / "storage")


def copy(source: str, target: object, *words: str) -> int:
    return main(["copy", "--from", source, "--to", str(target), *words])


def test_images_come_from_a_url_with_their_signatures(
    upstream: UpstreamServer, target: RegistryServer, capsys: pytest.CaptureFixture[str]
) -> None:
    # Arrange
    image, index = make_image(1), make_multi_platform_index(2)
    signature = make_artifact(b"signature", artifact_type="application/vnd.example", subject=image.manifest)
    upstream.content.add(NAME, image, "v1")
    upstream.content.add(NAME, index, "multi")
    upstream.content.add(NAME, signature)

    # Act
    code = copy(f"{upstream.url}/{NAME}", target.config_path)
    out = capsys.readouterr().out
    with target:
        client = RegistryClient(target.host)
        tags, listed = client.tags(NAME), client.referrers(NAME, image.digest)
        client.pull(NAME, "v1")
        client.pull(NAME, "multi")
        catalog = client.catalog()

    # Assert
    assert code == ExitCode.OK
    assert tags == ["multi", "v1"]
    assert [each["digest"] for each in listed] == [signature.digest]
    assert catalog == [NAME]
    assert out.startswith("copied: 1 repository compared, ")
    assert out.endswith("2 tags, 0 deleted, 0 only at the target, 0 problems\n")


def test_a_second_copy_asks_once_for_each_tag(
    upstream: UpstreamServer, target: RegistryServer, capsys: pytest.CaptureFixture[str]
) -> None:
    # Arrange
    upstream.content.add(NAME, make_image(1), "v1", "v2")
    copy(f"{upstream.url}/{NAME}", target.config_path)
    capsys.readouterr()
    upstream.forget()

    # Act
    code = copy(f"{upstream.url}/{NAME}", target.config_path, "--json")

    # Assert
    assert code == ExitCode.OK
    assert upstream.counts == {"tags GET": 1, "manifest HEAD": 2}
    report = json.loads(capsys.readouterr().out)
    assert report.pop("seconds") >= 0
    assert {key: value for key, value in report.items() if value} == {"repositories": 1}


def test_one_tag_gets_another_name(upstream: UpstreamServer, target: RegistryServer) -> None:
    # Arrange
    upstream.content.add(NAME, make_image(1), "v1", "v2")

    # Act
    code = copy(f"{upstream.url}/{NAME}:v1", target.config_path, "--to-repository", "mine")

    # Assert
    assert code == ExitCode.OK
    with target:
        assert RegistryClient(target.host).tags("mine") == ["v1"]
    assert upstream.count("tags") == 0


def test_versions_and_repositories_are_chosen(upstream: UpstreamServer, target: RegistryServer) -> None:
    # Arrange
    for name in ("team/app", "team/other", "elsewhere"):
        upstream.content.add(name, make_image(1), "1.0.0", "2.0.0", "2.1.0", "2.2.0", "latest")

    # Act
    code = copy(
        upstream.url, target.config_path, "--repository", "team/*", "--semver", ">=2", "--latest", "2",
        "--to-repository", "mirror",
    )  # fmt: skip

    # Assert
    assert code == ExitCode.OK
    with target:
        client = RegistryClient(target.host)
        assert client.catalog() == ["mirror/team/app", "mirror/team/other"]
        assert client.tags("mirror/team/app") == ["2.1.0", "2.2.0"]


@pytest.mark.parametrize("side", ["from", "to"])
def test_a_repository_of_the_cache_is_refused(
    upstream: UpstreamServer, tmp_path: Path, side: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # Arrange
    upstream.content.add(NAME, make_image(1), "v1")
    upstream.content.add("app", make_image(1), "v1")
    proxy = {"upstreams": [{"prefix": "team", "urls": [upstream.url]}]}
    registry = RegistryServer(tmp_path / "cache", tmp_path / "cache-storage", config={"proxy": proxy})
    with registry:
        RegistryClient(registry.host).pull(NAME, "v1")
    sides = {"from": f"{upstream.url}/{NAME}", "to": f"{upstream.url}/{NAME}", side: str(registry.config_path)}

    # Act and assert
    assert copy(sides["from"], sides["to"], *(["--repository", NAME] if side == "from" else [])) == ExitCode.FAILURE
    assert f"--{side}: {NAME} belongs to the pull-through cache" in capsys.readouterr().err


def test_a_dry_run_writes_nothing(
    upstream: UpstreamServer, target: RegistryServer, capsys: pytest.CaptureFixture[str]
) -> None:
    # Arrange
    upstream.content.add(NAME, make_image(1), "v1")

    # Act
    code = copy(f"{upstream.url}/{NAME}", target.config_path, "--dry-run")

    # Assert
    assert code == ExitCode.OK
    assert capsys.readouterr().out.startswith("would copy: 1 repository compared, 3 blobs sent (")
    assert upstream.count("blob") == 0
    assert not list((target.storage).rglob("data"))


def test_deletions_are_followed_if_wanted(upstream: UpstreamServer, target: RegistryServer) -> None:
    # Arrange
    upstream.content.add(NAME, make_image(1), "v1", "v2")
    copy(f"{upstream.url}/{NAME}", target.config_path)
    upstream.content.remove_tag(NAME, "v2")

    # Act
    kept = copy(f"{upstream.url}/{NAME}", target.config_path)
    with target:
        before = RegistryClient(target.host).tags(NAME)
    followed = copy(f"{upstream.url}/{NAME}", target.config_path, "--delete")

    # Assert
    assert kept == followed == ExitCode.OK
    assert before == ["v1", "v2"]
    with target:
        assert RegistryClient(target.host).tags(NAME) == ["v1"]


def test_a_cut_connection_continues_with_a_range(upstream: UpstreamServer, target: RegistryServer) -> None:
    # Arrange
    image = make_image(1, layer_sizes=(8 * MIB,))
    upstream.content.add(NAME, image, "v1")
    upstream.faults.cut_blobs(3 * MIB, times=2)

    # Act
    code = copy(f"{upstream.url}/{NAME}", target.config_path)

    # Assert
    assert code == ExitCode.OK
    with target:
        RegistryClient(target.host).pull(NAME, "v1")
    assert any("Range" in seen.headers for seen in upstream.requests("blob GET"))
    assert upstream.bytes_sent < 9 * MIB * len(image.blobs)


def test_a_blob_with_wrong_bytes_is_a_problem(
    upstream: UpstreamServer, target: RegistryServer, capsys: pytest.CaptureFixture[str]
) -> None:
    # Arrange
    image = make_image(1)
    upstream.content.add(NAME, image, "v1")
    layer = image.blobs[-1]
    upstream.content.replace_blob(NAME, layer.digest, bytes(len(layer.data)))

    # Act
    code = copy(f"{upstream.url}/{NAME}", target.config_path, "--json")

    # Assert
    out, err = capsys.readouterr()
    assert code == ExitCode.FAILURE
    assert f"problem: {NAME}: v1: " in err
    assert [problem["trouble"] for problem in json.loads(out)["listed_problems"]] == ["damaged"]


@pytest.mark.parametrize("way", ["variables", "file", "docker"])
def test_credentials_come_from_variables_or_files(
    upstream: UpstreamServer, target: RegistryServer, home: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    # Arrange
    upstream.content.add(NAME, make_image(1), "v1")
    upstream.sign_in.require_bearer(ci="secret")
    words: list[str] = []
    auth = base64.b64encode(b"ci:secret").decode()
    if way == "variables":
        monkeypatch.setenv("REGISTRY_FROM_USERNAME", "ci")
        (home.parent / "password").write_text("secret\n")
        monkeypatch.setenv("REGISTRY_FROM_PASSWORD_FILE", str(home.parent / "password"))
    else:
        path = home / ".docker" / "config.json" if way == "docker" else home.parent / "auth.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"auths": {upstream.host: {"auth": auth}}}))
        words = ["--from-credentials", str(path)] if way == "file" else []

    # Act and assert
    assert copy(f"{upstream.url}/{NAME}", target.config_path, *words) == ExitCode.OK


def test_half_a_pair_of_credentials_is_refused(
    upstream: UpstreamServer,
    target: RegistryServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("REGISTRY_FROM_USERNAME", "ci")
    assert copy(f"{upstream.url}/{NAME}", target.config_path) == ExitCode.FAILURE
    assert "REGISTRY_FROM_USERNAME and REGISTRY_FROM_PASSWORD must be given together" in capsys.readouterr().err


def test_a_source_without_a_catalog_needs_a_name(
    upstream: UpstreamServer, target: RegistryServer, capsys: pytest.CaptureFixture[str]
) -> None:
    upstream.faults.refuse(404, "catalog GET")
    upstream.content.add(NAME, make_image(1), "v1")
    assert copy(upstream.url, target.config_path) == ExitCode.STORAGE
    assert "the source does not list its repositories, so name one" in capsys.readouterr().err


def test_a_registry_is_copied_to_a_url_and_back(
    upstream: UpstreamServer, target: RegistryServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Arrange
    image = make_image(1)
    signature = make_artifact(b"signature", artifact_type="application/vnd.example", subject=image.manifest)
    upstream.content.add(NAME, image, "v1")
    upstream.content.add(NAME, signature)
    upstream.content.add("other", make_multi_platform_index(2), "v1")
    copy(upstream.url, target.config_path)
    capsys.readouterr()

    # Act
    with RegistryServer(tmp_path / "third", tmp_path / "third-storage") as third:
        code = copy(str(target.config_path), f"{third.url}/copies", "--json")
        report = json.loads(capsys.readouterr().out)
        client = RegistryClient(third.host)
        catalog = client.catalog()
        client.pull(f"copies/{NAME}", "v1")
        client.pull("copies/other", "v1")
        listed = client.referrers(f"copies/{NAME}", image.digest)
        between = copy(f"{third.url}/copies/{NAME}", f"{third.url}/again")
        client.pull("again", "v1")

    # Assert
    assert code == between == ExitCode.OK
    assert report["tags_copied"] == 2
    assert catalog == ["copies/other", f"copies/{NAME}"]
    assert [each["digest"] for each in listed] == [signature.digest]


def test_a_killed_copy_continues(upstream: UpstreamServer, target: RegistryServer, home: Path) -> None:
    # Arrange
    layer = bytes(range(256)) * (160 * MIB // 256)
    upstream.content.add_blob(NAME, b"{}")
    upstream.content.add_blob(NAME, layer)
    upstream.content.add_manifest(NAME, image_manifest(b"{}", [layer]), OCI_MANIFEST, "v1")
    upstream.faults.hold_blobs(100 * MIB)
    words = ["copy", "--from", f"{upstream.url}/{NAME}", "--to", str(target.config_path), "--quiet"]
    environment = {**os.environ, "HOME": str(home), "PYTHONPATH": str(REPOSITORY_ROOT)}
    killed = subprocess.Popen(
        [sys.executable, "-m", "entrypoints.cli", *words, "--keep-priority"], env=environment, start_new_session=True
    )
    try:
        upstream.wait_until(lambda: _staged(target) >= 64 * MIB)
    finally:
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
    upstream.faults.release()
    upstream.forget()

    # Act
    code = main(words)

    # Assert
    assert code == ExitCode.OK
    ranges = [seen.headers["Range"] for seen in upstream.requests("blob GET") if "Range" in seen.headers]
    assert any(int(text.removeprefix("bytes=").partition("-")[0]) >= 64 * MIB for text in ranges)
    with target:
        RegistryClient(target.host).pull(NAME, "v1")


def _staged(target: RegistryServer) -> int:
    return max((size for _, size in sizes_of_files(target.storage)), default=0)


@pytest.mark.parametrize(
    ("source", "to", "words", "problem"),
    [
        ("https://user:secret@host/app", "https://other", [], "--from: must be a URL such as"),
        ("https://host/App", "https://other", [], "--from: the URL names no image: invalid repository name"),
        ("https://host/app@sha256:1", "https://other", [], "--from: the URL names no image"),
        ("https://host/app", "https://other", ["--repository", "x"], "--repository: the URL of --from names"),
        ("https://host/app", "https://other/app:v1", [], "--to: must not name a tag"),
        ("https://host/app", "https://other/app", ["--to-repository", "x"], "--to-repository: the URL of --to names"),
    ],
)
def test_invalid_arguments_are_refused(
    source: str, to: str, words: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert copy(source, to, *words) == ExitCode.FAILURE
    err = capsys.readouterr().err
    assert problem in err
    assert "secret" not in err


def test_a_url_has_a_repository_a_tag_and_a_digest() -> None:
    digest = digest_of(b"x")
    found = parse_registry_url(f"HTTPS://registry.example.com:5000/team/app:v1@{digest}")
    assert (found.root, found.host) == ("https://registry.example.com:5000", "registry.example.com:5000")
    assert (found.repository, found.tag, found.digest) == ("team/app", "v1", digest)
    assert parse_registry_url("http://localhost/").repository is None


@pytest.mark.parametrize("words", [["--semver", "newest"], ["--tags", ""], ["--platform", "linux"], ["--latest", "0"]])
def test_malformed_choices_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        copy("https://host/app", "https://other", *words)
    assert f"argument {words[0]}: must be " in capsys.readouterr().err
