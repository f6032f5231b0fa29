"""`registry garbage-collect`: flags, output and exit codes."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from entrypoints.cli import main
from entrypoints.commands import garbage_collect
from entrypoints.exit_codes import ExitCode
from tests.cli.conftest import WriteConfig

LAYER = hashlib.sha256(b"layer").hexdigest()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A store with one layer that nothing needs."""
    root = tmp_path / "data/docker/registry/v2"
    for path, content in (
        (f"blobs/sha256/{LAYER[:2]}/{LAYER}/data", b"layer"),
        (f"repositories/a/_layers/sha256/{LAYER}/link", f"sha256:{LAYER}".encode()),
    ):
        (root / path).parent.mkdir(parents=True)
        (root / path).write_bytes(content)
        os.utime(root / path, (1, 1))
    return root


@pytest.fixture
def config_file(write_config: WriteConfig, data: Path) -> str:
    return str(write_config(storage={"maintenance": {"garbagecollect": {"settletime": "2s"}}}))


def test_dry_run_reports_and_removes_nothing(config_file: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["garbage-collect", config_file, "-d"]) == ExitCode.OK
    assert capsys.readouterr().out.splitlines() == [
        "a: 0 manifests, 1 layer link, 0 other links",
        "1 repository, 0 manifests, 0 tags; 1 blob of 5 B",
        "would be removed: 0 manifests, 1 layer link, 0 other links; 1 blob, 5 B",
    ]
    assert (data / f"blobs/sha256/{LAYER[:2]}/{LAYER}/data").exists()


def test_collection_removes_and_mentions_the_trash(
    config_file: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["garbage-collect", config_file]) == ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    assert "removed: 0 manifests, 1 layer link, 0 other links; 1 blob, 5 B" in lines
    assert lines[-1] == "removed content stays in the trash for 168h; `registry trash empty` frees the space now"
    assert not (data / f"blobs/sha256/{LAYER[:2]}").exists()
    # The repository held nothing else, and goes from the catalog.
    assert list((data / "repositories").iterdir()) == []


def test_report_can_be_json(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["garbage-collect", config_file, "--offline", "--json"]) == ExitCode.OK
    report = json.loads(capsys.readouterr().out)
    assert (report["phase"], report["blobs_removed"], report["bytes_removed"]) == ("done", 1, 5)
    assert report["by_repository"]["a"]["layer_links_removed"] == 1


def test_quiet_prints_nothing(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["garbage-collect", "-q", "-m", "--offline", config_file]) == ExitCode.OK
    assert capsys.readouterr() == ("", "")


def test_grace_period_keeps_young_content(config_file: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in data.rglob("*"):
        os.utime(path)
    assert main(["garbage-collect", config_file, "--grace-period", "1h"]) == ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [
        "removed: 0 manifests, 0 layer links, 0 other links; 0 blobs, 0 B",
        "kept, younger than the grace period of 1h: 1 item (--grace-period; none with --offline)",
    ]


def test_report_explains_why_nothing_was_removed(
    config_file: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["garbage-collect", config_file, "--offline"]) == ExitCode.OK
    capsys.readouterr()
    assert main(["garbage-collect", config_file, "--offline"]) == ExitCode.OK
    assert capsys.readouterr().out.splitlines()[-1] == "no garbage: a tag leads to all stored content"
    for digest in (hashlib.sha256(b"{}").hexdigest(), LAYER):
        (data / f"repositories/a/_layers/sha256/{digest}").mkdir(parents=True)
        (data / f"repositories/a/_layers/sha256/{digest}/link").write_text(f"sha256:{digest}")
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "layers": [],
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "size": 2,
                "digest": f"sha256:{hashlib.sha256(b'{}').hexdigest()}",
            },
        }
    ).encode()
    digest = hashlib.sha256(manifest).hexdigest()
    for path, content in (
        (f"blobs/sha256/{digest[:2]}/{digest}/data", manifest),
        (f"repositories/a/_manifests/revisions/sha256/{digest}/link", f"sha256:{digest}".encode()),
        (f"_control/spares/sha256/{LAYER}", b""),
    ):
        (data / path).parent.mkdir(parents=True, exist_ok=True)
        (data / path).write_bytes(content)
        os.utime(data / path, (1, 1))
    os.utime(data / f"repositories/a/_layers/sha256/{LAYER}/link", (1, 1))
    assert main(["garbage-collect", config_file]) == ExitCode.OK
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "kept, because clients pushed, pulled or requested them in the last hours: 1 item (none with --offline)",
        "kept, untagged: 1 manifest (none with --delete-untagged)",
    ]


@pytest.mark.parametrize("text", ["soon", "-1h", "5"])
def test_grace_period_needs_a_unit(config_file: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["garbage-collect", config_file, f"--grace-period={text}"])
    assert ended.value.code == ExitCode.USAGE
    assert "invalid duration" in capsys.readouterr().err


def test_second_collection_is_refused(
    config_file: str, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(garbage_collect, "PATIENCE_SECONDS", 0)
    lease = data / "_control/leases/collect-garbage"
    lease.parent.mkdir(parents=True)
    lease.write_text(json.dumps({"owner": "another host", "counter": 1}))
    assert main(["garbage-collect", config_file]) == ExitCode.FAILURE
    assert capsys.readouterr().err == "registry: another host is already collecting garbage\n"
    assert main(["garbage-collect", config_file, "--dry-run"]) == ExitCode.OK


def test_in_server_requires_a_server_that_collects(
    config_file: str, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["garbage-collect", "--in-server", config_file]) == ExitCode.FAILURE
    assert "no server collects" in capsys.readouterr().err
    done = data / "_control/jobs/collect-garbage"
    done.parent.mkdir(parents=True)
    done.write_text("{}")
    monkeypatch.setenv("REGISTRY_STORAGE_MAINTENANCE", "{garbagecollect: {enabled: true}}")
    assert main(["garbage-collect", "--in-server", config_file]) == ExitCode.OK
    assert capsys.readouterr().out == "a server will start the collection within a minute\n"
    assert not done.exists()


def test_problems_are_printed(config_file: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link = data / "repositories/a/_manifests/tags/x/current/link"
    link.parent.mkdir(parents=True)
    link.write_text("")
    assert main(["garbage-collect", config_file, "--offline"]) == ExitCode.OK
    problem = "problem: a:x: the link is missing or contains no digest; all manifests are kept"
    assert problem in capsys.readouterr().out.splitlines()


def test_blobs_stay_while_a_name_cannot_be_read(
    config_file: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link = data / "repositories/Team/app/_manifests/tags/x/current/link"
    link.parent.mkdir(parents=True)
    link.write_text(f"sha256:{hashlib.sha256(b'elsewhere').hexdigest()}")
    assert main(["garbage-collect", "-q", config_file, "--offline"]) == ExitCode.OK
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("registry: kept 1 blob (5 B), because 1 unreadable name in the store may refer to them")
    assert (data / f"blobs/sha256/{LAYER[:2]}/{LAYER}/data").exists()
    assert main(["garbage-collect", config_file, "--offline", "--despite-unreadable"]) == ExitCode.OK
    told = capsys.readouterr()
    assert "problem: Team/app: not a valid repository name, but contains 1 links" in told.out.splitlines()
    assert told.err == ""
    assert not (data / f"blobs/sha256/{LAYER[:2]}/{LAYER}").exists()


def test_clock_that_jumped_is_reported_and_can_be_accepted(
    config_file: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The layer is as old as the last look, and then the clock jumped for half a century."""
    clock = data / "_control/clock"
    clock.parent.mkdir(parents=True)
    clock.write_text(json.dumps({"seen": "1970-01-01T00:00:02+00:00", "gaps": []}))
    assert main(["garbage-collect", config_file, "--grace-period", "1h"]) == ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    assert "removed: 0 manifests, 0 layer links, 0 other links; 0 blobs, 0 B" in lines
    assert lines[-1].startswith("the store's clock jumped by ")
    assert main(["garbage-collect", config_file, "--grace-period", "1h", "--trust-clock"]) == ExitCode.OK
    assert "removed: 0 manifests, 1 layer link, 0 other links; 1 blob, 5 B" in capsys.readouterr().out
