"""`registry verify`: output and exit codes."""

import asyncio
import json
from pathlib import Path

import pytest

from adapters.blob_storage.filesystem import FilesystemBlobStorage
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.store import layout
from entrypoints.cli import main
from entrypoints.commands import verify
from entrypoints.exit_codes import ExitCode
from tests.cli.conftest import WriteConfig
from tests.support.content import image_manifest
from tests.support.core_services import CoreServices

NAME = RepositoryName("team/app")
CONFIG = b'{"os": "linux"}'


@pytest.fixture
def config_file(write_config: WriteConfig, tmp_path: Path) -> Path:
    async def push() -> None:
        async with FilesystemBlobStorage(str(tmp_path / "data")) as storage:
            services = CoreServices(storage=storage)
            await services.push_blob(NAME, CONFIG)
            await services.manifests.put(NAME, image_manifest(CONFIG), "", tags=[Tag("v1")])

    asyncio.run(push())
    return write_config()


def blob_path(config_file: Path) -> Path:
    return config_file.parent / f"data{layout.blob_data(Digest.of(CONFIG))}"


def test_sound_store_is_one_line(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(config_file)]) == ExitCode.OK
    size = len(CONFIG) + len(image_manifest(CONFIG))
    assert capsys.readouterr().out == (
        f"verified: 2 blobs ({size} B read), 1 manifest in 1 repository: 0 damaged, 0 not repaired, 0 notes\n"
    )


def test_damage_is_reported_with_its_images(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blob_path(config_file).write_bytes(b"damaged")
    assert main(["verify", "--repair", str(config_file)]) == ExitCode.DAMAGE
    out = capsys.readouterr().out
    digest, manifest = Digest.of(CONFIG), Digest.of(image_manifest(CONFIG))
    assert f"damage: corrupt-data {digest}: 7 bytes that hash to {Digest.of(b'damaged')} [quarantined]\n" in out
    assert f"damage: blob-lost {NAME}: blob {digest} is missing [needs-push]\n" in out
    assert f"    affects {NAME}:v1\n    affects {NAME}@{manifest}\n" in out
    assert f"images affected by {digest}: {NAME}:v1, {NAME}@{manifest}\n" in out
    assert out.endswith("2 damaged, 2 not repaired, 0 notes\n")


def test_repaired_store_has_its_own_exit_code(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config_file.parent / f"data{layout.layer_link(NAME, Digest.of(CONFIG))}").write_bytes(b"")
    assert main(["verify", str(config_file)]) == ExitCode.DAMAGE
    assert main(["verify", "--repair", "--quiet", str(config_file)]) == ExitCode.REPAIRED
    assert main(["verify", "--fast", str(config_file)]) == ExitCode.OK
    assert "[rebuilt]" in capsys.readouterr().out


def test_json_output_is_one_document_per_line(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blob_path(config_file).unlink()
    assert main(["verify", "--json", "--repository", NAME, str(config_file)]) == ExitCode.DAMAGE
    finding, summary = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (finding["type"], finding["kind"], finding["damage"]) == ("finding", "blob-lost", True)
    assert (summary["type"], summary["damage"], summary["left"]) == ("summary", 1, 1)
    assert summary["images"] == {Digest.of(CONFIG): finding["images"]}


def test_invalid_name_is_refused(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--repository", "Not A Name", str(config_file)]) == ExitCode.FAILURE
    assert "invalid repository name" in capsys.readouterr().err


def test_second_verification_is_refused(
    config_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "PATIENCE_SECONDS", 0.1)
    key = layout.lease("verification-full")
    lease = config_file.parent / f"data{key}"
    lease.parent.mkdir(parents=True)
    lease.write_text('{"owner": "another machine", "counter": 1}')
    assert main(["verify", str(config_file)]) == ExitCode.FAILURE
    assert capsys.readouterr().err == "registry: another machine is already running the same verification\n"
