"""`registry mirror`, and mirrors that a server runs on its schedule."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from entrypoints.cli import main
from entrypoints.exit_codes import ExitCode
from tests.support.oci import make_artifact, make_image, make_multi_platform_index
from tests.support.ports import free_port
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient
from tests.support.upstream_server import UpstreamServer

NAME = "team/app"


@pytest.fixture
def upstream() -> Iterator[UpstreamServer]:
    with UpstreamServer() as server:
        yield server


def registry_of(folder: Path, *mirrors: dict[str, Any], **sections: Any) -> RegistryServer:
    """Return our registry with these mirrors, not running yet."""
    config = {"mirrors": list(mirrors), **sections}
    return RegistryServer(folder / "server", folder / "storage", config=config)


def mirror(upstream: UpstreamServer, **keys: Any) -> dict[str, Any]:
    return {"name": "app", "from": upstream.url, "repository": NAME, "to": "mirror/app", **keys}


def until(condition: Callable[[], Any]) -> Any:
    ends_at = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < ends_at, "the condition did not become true"
        time.sleep(0.1)
    return found


def test_a_mirror_is_run_and_shown(
    upstream: UpstreamServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Arrange
    image = make_image(1)
    upstream.content.add(NAME, image, "1.0.0", "2.0.0", "2.1.0")
    upstream.content.add(NAME, make_artifact(b"s", artifact_type="application/vnd.example", subject=image.manifest))
    server = registry_of(tmp_path, mirror(upstream, tags={"semver": ">=2"}))
    config = str(server.config_path)

    # Act
    before = main(["mirror", "status", config])
    never = capsys.readouterr().out
    dry = main(["mirror", "run", "app", config, "--dry-run"])
    would = capsys.readouterr().out
    code = main(["mirror", "run", "app", config])
    copied = capsys.readouterr().out
    main(["mirror", "status", config])
    status = capsys.readouterr().out
    main(["mirror", "status", config, "--json"])
    document = json.loads(capsys.readouterr().out)

    # Assert
    assert before == dry == code == ExitCode.OK
    assert never == f"app: {upstream.host}/{NAME} to mirror/app\n  never run\n"
    assert would.startswith("would copy: 1 repository, 2 tags, 2 manifests, ")
    assert copied.startswith("copied: 1 repository, 2 tags, 2 manifests, ")
    assert "  last success: 20" in status
    assert "  next run:     20" in status
    assert document[0]["last_run"]["tags_copied"] == 2
    assert document[0]["next_run"] > document[0]["last_run"]["ended"]
    with server:
        client = RegistryClient(server.host)
        assert client.tags("mirror/app") == ["2.0.0", "2.1.0"]
        assert len(client.referrers("mirror/app", image.digest)) == 1
        assert client.catalog() == ["mirror/app"]


def test_a_second_run_asks_once_for_each_tag(
    upstream: UpstreamServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Arrange
    upstream.content.add(NAME, make_image(1), "v1", "v2")
    config = str(registry_of(tmp_path, mirror(upstream)).config_path)
    main(["mirror", "run", "app", config])
    upstream.forget()
    capsys.readouterr()

    # Act
    code = main(["mirror", "run", "app", config, "--json"])

    # Assert
    assert code == ExitCode.OK
    assert upstream.counts == {"tags GET": 1, "manifest HEAD": 2}
    assert json.loads(capsys.readouterr().out)["tags_copied"] == 0


def test_an_unknown_mirror_and_a_failed_run_have_exit_codes(
    upstream: UpstreamServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Arrange
    upstream.content.add(NAME, make_image(1), "v1")
    config = str(registry_of(tmp_path, mirror(upstream)).config_path)
    upstream.faults.refuse(429, headers={"Retry-After": "3600"})

    # Act
    unknown = main(["mirror", "run", "other", config])
    failed = main(["mirror", "run", "app", config])
    err = capsys.readouterr().err
    main(["mirror", "status", config])
    status = capsys.readouterr().out

    # Assert
    assert (unknown, failed) == (ExitCode.NOT_FOUND, ExitCode.STORAGE)
    assert "there is no mirror other; configured: app" in err
    assert "error:        " in status
    assert "last success: none" in status
    assert "next run:     within 10 minutes" in status


def test_no_mirrors_are_shown_as_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mirror", "status", str(registry_of(tmp_path).config_path)]) == ExitCode.OK
    assert capsys.readouterr().out == "no mirrors are configured\n"


def test_chosen_platforms_are_copied_and_verified(upstream: UpstreamServer, tmp_path: Path) -> None:
    # Arrange
    index = make_multi_platform_index(1)
    upstream.content.add(NAME, index, "v1")
    server = registry_of(
        tmp_path,
        mirror(upstream, platforms=["linux/amd64"]),
        validation={"manifests": {"indexes": {"platforms": "none"}}},
    )
    config = str(server.config_path)

    # Act
    code = main(["mirror", "run", "app", config])
    verified = main(["verify", config])

    # Assert
    assert code == verified == ExitCode.OK
    chosen = next(image for image in index.images if image.platform["architecture"] == "amd64")
    with server:
        client = RegistryClient(server.host)
        client.pull("mirror/app", chosen.digest)
        others = [image for image in index.images if image is not chosen]
        for other in others:
            assert client.request("GET", f"/v2/mirror/app/manifests/{other.digest}").status == 404


@pytest.mark.e2e
def test_a_server_follows_its_mirror_and_reports_it(
    upstream: UpstreamServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Arrange
    upstream.content.add(NAME, make_image(1), "v1", "v2")
    debug = f"127.0.0.1:{free_port()}"
    server = registry_of(
        tmp_path,
        mirror(upstream, every="1s", deletes="follow"),
        http={"debug": {"addr": debug, "prometheus": {"enabled": True}}},
    )
    with server:
        client = RegistryClient(server.host)

        # Act
        until(lambda: _tags(client) == ["v1", "v2"])
        upstream.content.remove_tag(NAME, "v2")
        upstream.content.add(NAME, make_image(2), "v3")
        until(lambda: _tags(client) == ["v1", "v3"])
        metrics = until(lambda: _metrics(debug, 'registry_mirror_tags_copied_total{mirror="app"} 3.0'))
        # A run repeats a request for half a minute while the upstream cannot be reached, but not a refused one.
        upstream.faults.refuse(403)
        [problem] = until(lambda: _status(server, capsys)["listed_problems"])
        upstream.faults.recover()
        until(lambda: not _status(server, capsys)["listed_problems"])

    # Assert
    assert "access is refused" in problem
    assert 'registry_mirror_last_success_timestamp_seconds{mirror="app"} ' in metrics
    assert 'registry_mirror_runs_total{mirror="app",outcome="success"} ' in metrics
    assert 'registry_mirror_tags_deleted_total{mirror="app"} 1.0' in metrics


def _tags(client: RegistryClient) -> list[str]:
    answer = client.request("GET", "/v2/mirror/app/tags/list")
    return list(json.loads(answer.body)["tags"] or []) if answer.status == 200 else []


def _metrics(host: str, wanted: str) -> str:
    text = RegistryClient(host).request("GET", "/metrics").body.decode()
    return text if wanted in text else ""


def _status(server: RegistryServer, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["mirror", "status", str(server.config_path), "--json"]) == ExitCode.OK
    last_run: dict[str, Any] = json.loads(capsys.readouterr().out)[0]["last_run"]
    return last_run
